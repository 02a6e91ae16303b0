"""The loader over resident tensors: order and random state of torch's DataLoader, and which raw samples it served."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from ckd.data.preparation import Preparation, RandomFlip, Scale
from ckd.data.resident import Resident
from ckd.data.resident_loader import ResidentLoader, Source

SCALE = Preparation((Scale(2.0),))


def resident(n, *, first=0, rows=None, steps=SCALE):
    """Samples first, first + 1, ... as one-pixel images, each labelled by its number."""
    numbers = torch.arange(first, first + n)
    columns = numbers if rows is None else numbers[rows]
    return Resident(lambda: numbers.to(torch.uint8)[:, None, None, None], rows, [columns], steps)


def loader_of(*data, batch=4, shuffle=True, drop_last=False, ends=0, oversample=False, seed=0, passes=1):
    sources = [Source(one, batch) for one in data]
    generator = torch.Generator().manual_seed(seed)
    return ResidentLoader(
        sources,
        shuffle=shuffle,
        drop_last=drop_last,
        ends=ends,
        oversample=oversample,
        generator=generator,
        passes=passes,
    )


def labels(loader):
    return [batch[1].tolist() for batch in loader]


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_order_and_random_state_are_those_of_torchs_loader(shuffle, drop_last):
    inputs, targets = torch.arange(10.0), torch.arange(10)
    stock = DataLoader(TensorDataset(inputs, targets), batch_size=4, shuffle=shuffle, drop_last=drop_last)
    mine = loader_of(resident(10), shuffle=shuffle, drop_last=drop_last)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        wanted, after = [labels(stock), labels(stock)], torch.rand(1)
        torch.manual_seed(3)
        assert [labels(mine), labels(mine)] == wanted
        assert torch.equal(torch.rand(1), after)
    assert len(mine) == len(stock) == len(wanted[0])


def test_with_several_passes_each_batch_comes_that_often_in_a_row_and_augmented_anew():
    data = resident(10, steps=Preparation((Scale(2.0), RandomFlip())))
    with torch.random.fork_rng():
        torch.manual_seed(3)
        once = labels(loader_of(data))
        torch.manual_seed(3)
        thrice = loader_of(data, passes=3)
        assert labels(thrice) == [batch for batch in once for _ in range(3)]
    assert len(thrice) == 9
    two = torch.arange(20, dtype=torch.uint8).view(10, 1, 1, 2)
    wide = Resident(lambda: two, None, [torch.arange(10)], Preparation((Scale(1.0), RandomFlip())))
    views = [inputs.flatten(1).tolist() for inputs, _ in loader_of(wide, shuffle=False, passes=3)]
    assert len({str(view) for view in views[:3]}) > 1


def test_a_batch_is_prepared_and_its_labels_belong_to_its_samples():
    for inputs, targets in loader_of(resident(10)):
        assert inputs.dtype == torch.float32
        assert torch.equal(inputs[:, 0, 0, 0], targets / 2)


def test_rows_choose_among_the_samples():
    rows = torch.tensor([7, 1, 4])
    ((inputs, targets),) = loader_of(resident(10, rows=rows), shuffle=False)
    assert targets.tolist() == [7, 1, 4]
    assert (2 * inputs).flatten().tolist() == [7, 1, 4]


def test_the_raw_samples_are_those_behind_the_batch_that_was_served_last():
    loader, earlier = loader_of(resident(10)), None
    for inputs, targets in loader:
        raw = loader.raw_of(inputs)
        assert raw.dtype == torch.uint8
        assert torch.equal(raw.flatten(), targets)
        assert loader.raw_of(inputs.clone()) is None
        assert loader.raw_of(inputs[:2]) is None
        if earlier is not None:
            assert loader.raw_of(earlier) is None
        earlier = inputs
    assert loader_of(resident(10)).raw_of(earlier) is None  # nothing was served


def test_the_raw_samples_of_several_sources_are_joined_like_their_batch():
    loader = loader_of(resident(8), resident(8, first=100))
    for inputs, targets in loader:
        assert torch.equal(loader.raw_of(inputs).flatten(), targets)
        assert targets[:4].max() < 8 <= 100 <= targets[4:].min()


@pytest.mark.parametrize(("oversample", "sizes"), [(True, [8, 5, 8]), (False, [8, 5, 4])])
def test_a_smaller_source_is_cycled_or_left_out(oversample, sizes):
    found = labels(loader_of(resident(12), resident(5, first=100), oversample=oversample, shuffle=False))
    assert [len(batch) for batch in found] == sizes
    assert [batch[:4] for batch in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert found[0][4:] == [100, 101, 102, 103]


def test_the_chosen_source_ends_the_epoch():
    loader = loader_of(resident(12), resident(5, first=100), ends=1, shuffle=False)
    assert labels(loader) == [[0, 1, 2, 3, 100, 101, 102, 103], [4, 5, 6, 7, 104]]
    assert len(loader) == 2


def test_augmentation_draws_from_its_own_generator():
    images = torch.rand(64, 1, 2, 2)

    def epoch(seed):
        data = Resident(lambda: images, None, [torch.arange(64)], Preparation((RandomFlip(),)))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            ((inputs, _),) = loader_of(data, batch=64, shuffle=False, seed=seed)
            return inputs, torch.rand(1)

    (one, after), (again, _), (other, same_after) = epoch(0), epoch(0), epoch(1)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(after, same_after)
