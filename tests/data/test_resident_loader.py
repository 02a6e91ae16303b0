"""Mini-batches from tensors against torch's DataLoader: the same samples in the same order, from the same draws."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from ckd.data.preparation import Preparation, RandomFlip, Scale
from ckd.data.resident import Resident
from ckd.data.resident_loader import ResidentLoader, Source

SCALE = (Scale(),)


def resident(n=23, rows=None, steps=SCALE, first=0):
    """Images that are all different, numbered labels and a further column."""
    raw = torch.arange(first, first + n, dtype=torch.uint8)[:, None, None, None] + torch.zeros(1, 1, 2, 3).byte()
    index = torch.arange(first, first + n) if rows is None else rows
    return Resident(lambda: raw, rows, [index, 10 * index], Preparation(steps))


def loader(*data, batch=5, shuffle=True, drop_last=False, ends=0, oversample=False):
    sources = [Source(one, batch) for one in data]
    generator = torch.Generator().manual_seed(3)
    options = {"shuffle": shuffle, "drop_last": drop_last, "ends": ends, "oversample": oversample}
    return ResidentLoader(sources, generator=generator, **options)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("rows", [None, torch.tensor([4, 0, 9, 22, 7, 1])], ids=["all", "some rows"])
def test_batches_and_draws_are_those_of_a_data_loader(shuffle, drop_last, rows):
    data = resident(rows=rows)
    raw = data.raw() if rows is None else data.raw()[rows]
    theirs = DataLoader(TensorDataset(raw, *data.columns), batch_size=5, shuffle=shuffle, drop_last=drop_last)
    mine, found, wanted = loader(data, shuffle=shuffle, drop_last=drop_last), [], []
    for batches, source in ((found, mine), (wanted, theirs)):
        with torch.random.fork_rng():
            torch.manual_seed(7)
            for _ in range(2):  # epochs
                batches += list(source)
            batches.append([torch.rand(1)])  # the next number of the global generator
    assert len(found) == len(wanted) == 2 * len(mine) + 1 == 2 * len(theirs) + 1
    for one, other in zip(found[:-1], wanted[:-1], strict=True):
        assert torch.equal(one[0], other[0].float() / 255)
        assert [c.tolist() for c in one[1:]] == [c.tolist() for c in other[1:]]
    assert torch.equal(found[-1][0], wanted[-1][0])


def test_the_raw_samples_are_known_behind_the_batch_that_was_served_last_and_no_other():
    mine = loader(resident(steps=(RandomFlip(), Scale())), shuffle=False)
    batches = iter(mine)
    first = next(batches)
    raw = mine.raw_of(first[0])
    assert raw.dtype == torch.uint8
    assert raw[:, 0, 0, 0].tolist() == first[1].tolist() == [0, 1, 2, 3, 4]
    assert mine.raw_of(first[0].clone()) is None
    second = next(batches)
    assert mine.raw_of(first[0]) is None
    assert mine.raw_of(second[0])[:, 0, 0, 0].tolist() == [5, 6, 7, 8, 9]
    assert loader(resident()).raw_of(first[0]) is None


@pytest.mark.parametrize("oversample", [False, True])
@pytest.mark.parametrize("ends", [0, 1])
def test_several_data_sets_share_every_batch(ends, oversample):
    """12 samples and 23 in batches of 5: the shorter ends the epoch, or is used up, or begins anew."""
    small, large = resident(12), resident(23, first=100)
    mine = loader(small, large, ends=ends, oversample=oversample, shuffle=False)
    found = [batch[1].tolist() for batch in mine]
    n = 3 if ends == 0 else 5
    assert len(mine) == len(found) == n
    for i, labels in enumerate(found):
        of_large = list(range(100 + 5 * i, min(100 + 5 * i + 5, 123)))
        passes = [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]
        of_small = passes[i % 3] if i < 3 or oversample else []
        assert labels == of_small + of_large


def test_a_resident_data_set_takes_rows_and_columns_alike():
    data = resident(rows=torch.tensor([4, 0, 9]))
    raw, (labels, further) = data.take(torch.tensor([2, 0]))
    assert raw[:, 0, 0, 0].tolist() == labels.tolist() == [9, 4]
    assert further.tolist() == [90, 40]
    assert len(data) == 3
    assert data.to(torch.device("cpu")) is data
