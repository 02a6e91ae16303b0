"""Split, permuted and rotated streams."""

import numpy as np
import pytest
import torch
from torchvision.transforms.functional import rotate

from ckd.data import arrays, permuted, rotated, shuffled, split
from ckd.errors import ConfigError, DataError

N_CLASSES = 6
CHANGED = pytest.mark.parametrize("make", [permuted, rotated])
EVERY_STREAM = pytest.mark.parametrize("make", [split, shuffled, permuted, rotated])


def data(n_classes=N_CLASSES, shape=(1, 6, 6)):
    """Images and labels, shuffled; 8 of each class to train on and 3 to test on."""
    random = np.random.default_rng(0)

    def part(per_class):
        y = random.permutation(np.repeat(np.arange(n_classes), per_class))
        return random.integers(1, 256, (len(y), *shape), dtype="uint8"), y

    return arrays(*part(8), *part(3))


def shown(experience):
    """The samples of an experience and their labels, one by one."""
    samples, labels = zip(*(experience[i] for i in range(len(experience))), strict=True)
    return torch.stack(samples), torch.tensor(labels)


def contents(stream):
    """Every experience's raw samples, in order."""
    return [e.raw().clone() for e in (*stream.train, *stream.test)]


def bytes_of(sample):
    return sample.numpy().tobytes()


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(contents(one), contents(other), strict=True))


@EVERY_STREAM
def test_a_stream_carries_what_a_learner_needs_to_know(make):
    source = data()
    stream = make(source, 3, 0)
    assert len(stream.train) == len(stream.test) == 3
    assert stream.n_classes == N_CLASSES
    assert stream.input_shape == (1, 6, 6)
    assert (stream.prepare_train, stream.prepare_test) == (source.prepare_train, source.prepare)


@EVERY_STREAM
def test_making_a_stream_leaves_the_global_generator_alone(make):
    before = torch.get_rng_state()
    make(data(), 3, 0)
    assert torch.equal(torch.get_rng_state(), before)


# split -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_experiences", [1, 2, 3, 6])
def test_split_gives_each_experience_its_own_classes_in_ascending_order(n_experiences):
    stream = split(data(), n_experiences)
    width = N_CLASSES // n_experiences
    for i, (train, test) in enumerate(zip(stream.train, stream.test, strict=True)):
        expected = list(range(i * width, (i + 1) * width))
        assert train.targets.unique().tolist() == expected
        assert test.targets.unique().tolist() == expected


@pytest.mark.parametrize("part", ["train", "test"])
def test_split_shows_every_sample_once_with_its_label(part):
    source = data()
    x, y = getattr(source, f"x_{part}"), getattr(source, f"y_{part}")
    for i, experience in enumerate(getattr(split(source, 3), part)):
        mine = np.isin(y.numpy(), [2 * i, 2 * i + 1])
        samples, labels = shown(experience)
        assert np.array_equal(samples.numpy(), x.numpy()[mine])
        assert np.array_equal(labels.numpy(), y.numpy()[mine])


def test_split_copies_nothing():
    source = data()
    assert {e.raw().data_ptr() for e in split(source, 3).train} == {source.x_train.data_ptr()}


@pytest.mark.parametrize("n_experiences", [0, -1, 4, 5, 12])
def test_split_refuses_what_does_not_divide_the_classes(n_experiences):
    with pytest.raises(ConfigError, match="a divisor of 6"):
        split(data(), n_experiences)


@pytest.mark.parametrize("part", ["train", "test"])
def test_shuffled_is_split_of_classes_in_another_order(part):
    """Each old class is found whole under one new label, and the seed says which."""
    source = data()
    old = dict(zip(map(bytes_of, getattr(source, f"x_{part}")), getattr(source, f"y_{part}").tolist(), strict=True))
    orders = []
    for seed in (0, 1, 1):
        meets = set()
        for i, experience in enumerate(getattr(shuffled(source, 3, seed), part)):
            pairs = [(old[bytes_of(x)], int(y)) for x, y in zip(*shown(experience), strict=True)]
            assert {y for _, y in pairs} == {2 * i, 2 * i + 1}
            meets |= set(pairs)
        assert sorted(y for _, y in meets) == list(range(N_CLASSES))
        orders.append([was for was, _ in sorted(meets, key=lambda pair: pair[1])])
    assert orders[0] != orders[1] == orders[2]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(N_CLASSES))


# permuted and rotated ----------------------------------------------------------------------------------------------


@CHANGED
def test_the_seed_decides_the_stream(make):
    assert equal(make(data(), 3, 0), make(data(), 3, 0))
    assert not equal(make(data(), 3, 0), make(data(), 3, 1))


@CHANGED
def test_a_longer_stream_begins_like_a_shorter_one(make):
    short, long = make(data(), 2, 0), make(data(), 4, 0)
    assert all(torch.equal(a.raw(), b.raw()) for a, b in zip(short.train, long.train[:2], strict=True))


@CHANGED
def test_every_experience_shows_the_data_in_its_own_way_the_first_too(make):
    stream = make(data(), 4, 0)
    views = [data().x_train, *(e.raw().clone() for e in stream.train)]
    assert len(torch.stack(views).flatten(1).unique(dim=0)) == 5


@CHANGED
def test_every_experience_has_all_the_labels(make):
    source = data()
    stream = make(source, 3, 0)
    assert all(torch.equal(e.targets, source.y_train) for e in stream.train)
    assert all(torch.equal(e.targets, source.y_test) for e in stream.test)


@CHANGED
def test_training_sets_take_turns_in_one_buffer_and_test_sets_are_kept(make):
    stream = make(data(), 3, 0)
    assert len({e.raw().data_ptr() for e in stream.train}) == 1
    assert len({e.raw().data_ptr() for e in stream.test}) == 3
    assert stream.train[0].raw().data_ptr() not in {e.raw().data_ptr() for e in stream.test}


@CHANGED
@pytest.mark.parametrize("n_experiences", [0, -1])
def test_a_stream_of_nothing_is_refused(make, n_experiences):
    with pytest.raises(ConfigError, match="number of experiences"):
        make(data(), n_experiences, 0)


@CHANGED
@pytest.mark.parametrize("which", ["train", "test"])
def test_tensors_of_an_experience_outlive_the_next(make, which):
    x, y = torch.rand(12, 1, 6, 6), torch.arange(12) % 3
    stream = make(arrays(x, y, x, y), 3)
    together = [inputs for inputs, _ in stream.tensors(which)]
    apart = [inputs.clone() for inputs, _ in stream.tensors(which)]
    assert not torch.equal(apart[0], apart[1])
    assert all(map(torch.equal, together, apart))


@pytest.mark.parametrize("shape", [(36,), (1, 6, 6), (3, 6, 5)])
def test_permuted_moves_the_pixels_of_every_sample_alike(shape):
    source = data(shape=shape)
    for train, test in zip(*(getattr(permuted(source, 3, 0), part) for part in ("train", "test")), strict=True):
        found = [(source.x_train, train.raw()), (source.x_test, test.raw())]
        before = torch.cat([x.flatten(1) for x, _ in found]).numpy()
        after = torch.cat([x.flatten(1) for _, x in found]).numpy()
        assert np.array_equal(np.sort(before, axis=1), np.sort(after, axis=1))
        columns = {tuple(column): i for i, column in enumerate(before.T)}
        moved = [columns[tuple(column)] for column in after.T]  # the same move in all rows, train and test
        assert sorted(moved) == list(range(before.shape[1]))


def test_rotated_turns_train_and_test_by_one_angle_below_180_degrees():
    source = data()
    stream = rotated(source, 5, 0)
    angles = [e.change.degrees for e in stream.train]
    assert all(0 <= angle < 180 for angle in angles)
    assert len(set(angles)) == 5
    for angle, train, test in zip(angles, stream.train, stream.test, strict=True):
        assert torch.equal(train.raw(), rotate(source.x_train, angle))
        assert torch.equal(test.raw(), rotate(source.x_test, angle))


def test_the_angles_are_spread_over_the_half_circle():
    angles = np.array([e.change.degrees for e in rotated(data(), 400, 0).train])
    assert np.histogram(angles, bins=4, range=(0, 180))[0].min() > 60  # 100 expected, standard deviation 8.7


def test_rotated_refuses_what_is_no_image():
    with pytest.raises(DataError, match="images"):
        rotated(data(shape=(36,)), 2, 0)


def test_an_experience_without_test_samples_is_refused():
    x, y = np.zeros((6, 4), dtype="uint8"), np.arange(6) % 3
    with pytest.raises(DataError, match="experience 2: expected samples of the classes 2 to 2"):
        split(arrays(x, y, x[y < 2], y[y < 2]), 3)
