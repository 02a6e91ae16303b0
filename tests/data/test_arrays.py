"""A user's arrays: what is taken, how it is held, what is refused and with which words."""

import numpy as np
import pytest
import torch

from ckd.data import arrays
from ckd.errors import ConfigError, DataError

LABELS = np.array([0, 1, 2, 0, 1, 2])


def values(*shape, dtype="uint8", seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


def of(x, y=LABELS, x_test=None, y_test=None):
    """Arrays whose test data is the training data unless given."""
    return arrays(x, y, x if x_test is None else x_test, y if y_test is None else y_test)


@pytest.mark.parametrize(
    ("shape", "held"),
    [
        ((6, 7), (7,)),
        ((6, 5, 4), (1, 5, 4)),
        ((6, 1, 5, 4), (1, 5, 4)),
        ((6, 3, 5, 4), (3, 5, 4)),
        ((6, 5, 4, 1), (1, 5, 4)),
        ((6, 5, 4, 3), (3, 5, 4)),
        ((6, 3, 5, 3), (3, 5, 3)),
        ((6, 8, 5, 4), (4, 8, 5)),
        ((6, 4, 5, 3), (3, 4, 5)),
        ((6, 4, 5, 8), (4, 5, 8)),
        ((6, 4, 5, 4), (4, 5, 4)),
    ],
    ids=[
        *("flat", "grey", "grey NCHW", "colour NCHW", "grey NHWC", "colour NHWC", "ambiguous is NCHW"),
        *("RGBA NHWC", "colour NHWC of 4 rows", "RGBA NCHW", "ambiguous RGBA is NCHW"),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_samples_are_held_channels_first(shape, held, dtype):
    x = values(*shape, dtype=dtype)
    data = of(x)
    last = len(shape) == 4 and shape[1:] != held
    expected = (x.transpose(0, 3, 1, 2) if last else x).reshape(6, *held)
    assert data.x_train.dtype == (torch.uint8 if dtype == "uint8" else torch.float32)
    assert np.array_equal(data.x_train.numpy(), expected)
    assert data.x_train.is_contiguous()
    assert data.input_shape == held


def test_bytes_are_divided_by_255():
    x = values(6, 4, 4)
    data = of(x)
    assert np.array_equal(data.prepare(data.x_train).numpy(), x[:, None].astype("float32") / np.float32(255))


def test_floats_are_taken_as_they_are():
    x = values(6, 4, dtype="float32") - 300
    data = of(x)
    assert np.array_equal(data.prepare(data.x_train).numpy(), x)


@pytest.mark.parametrize(
    "labels",
    [
        LABELS.tolist(),
        LABELS.astype("int32"),
        LABELS.astype("uint8"),
        LABELS.astype("uint64"),
        LABELS.astype("float64"),
        torch.tensor(LABELS),
        LABELS[:, None],
    ],
    ids=["list", "int32", "uint8", "uint64", "whole floats", "tensor", "column"],
)
def test_labels_become_int64(labels):
    data = of(values(6, 4), labels)
    assert data.y_train.dtype == torch.int64
    assert data.y_train.tolist() == LABELS.tolist()
    assert data.n_classes == 3


def test_arrays_that_cannot_be_written_are_copied():
    raw = bytes(range(24))
    x = np.frombuffer(raw, np.uint8).reshape(4, 6)  # PyTorch would warn of it, and warnings are errors here
    y = np.frombuffer(bytes([0, 1, 0, 1]), np.uint8)
    found = arrays(x, y, x, y)
    found.x_train[:] = 0
    assert x.ravel().tolist() == list(raw)


def test_tensors_are_taken_too():
    x = values(6, 4)
    assert torch.equal(of(torch.from_numpy(x), torch.from_numpy(LABELS)).x_train, of(x).x_train)


X = values(6, 4)


def bad(name, where, said, **given):
    """A case: what is `given` to `of`, what the error is about and what it says."""
    return pytest.param(given, where, said, id=name)


@pytest.mark.parametrize(
    ("given", "where", "said"),
    [
        bad("train lengths", "x_train and y_train", "5 samples and 6 labels", x=X[:5]),
        bad("test lengths", "x_test and y_test", "4 samples and 6 labels", x=X, x_test=X[:4]),
        bad("no samples", "x_train and y_train", "at least one", x=X[:0], y=LABELS[:0], x_test=X, y_test=LABELS),
        bad("one-hot labels", "y_train", "of shape (6, 3)", x=X, y=np.eye(3)[LABELS]),
        bad("negative label", "y_train", "lowest -1", x=X, y=LABELS - 1),
        bad("fractional label", "y_train", "whole numbers", x=X, y=LABELS + 0.5),
        bad("NaN as a label", "y_train", "whole numbers", x=X, y=np.where(LABELS, LABELS, np.nan)),
        bad("infinite label", "y_train", "whole numbers", x=X, y=np.where(LABELS, LABELS, np.inf)),
        bad("negative test label", "y_test", "lowest -1", x=X, y_test=LABELS - 1),
        bad("words as labels", "y_train", "whole numbers", x=X, y=np.array(list("abcabc"))),
        bad("classes from 1", "y_train", "no sample of class 0", x=X, y=LABELS + 1),
        bad("integer samples", "x_train", "int64", x=X.astype("int64")),
        bad("boolean samples", "x_train", "bool", x=X > 100),
        bad("complex samples", "x_train", "complex64", x=X.astype("complex64")),
        bad("words as samples", "x_train", "uint8 or floating", x=X.astype(str)),
        bad("objects as samples", "x_train", "uint8 or floating", x=X.astype(object)),
        bad("samples of one dimension", "x_train", "at least 2 dimensions", x=X[:, 0]),
        bad("integer test samples", "x_test", "int64", x=X, x_test=X.astype("int64")),
        bad("test shape", "x_test", "(3,)", x=X, x_test=X[:, :3]),
        bad("test dtype", "x_test", "torch.float32", x=X, x_test=X.astype("float32")),
        bad("test label above those taught", "y_test", "a label 3", x=X, y_test=LABELS + 1),
        bad("a class without a sample", "y_train", "no sample of class 1", x=X, y=LABELS // 2 * 2),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(given, where, said):
    with pytest.raises(DataError) as error:
        of(**given)
    assert error.value.what == where
    assert said in str(error.value)


# holding out -------------------------------------------------------------------------------------------------------


def numbered(counts=(40, 30, 20)):
    """Training samples that carry their own row number; test samples that carry -1."""
    y = np.repeat(np.arange(len(counts)), counts)[np.random.default_rng(0).permutation(sum(counts))]
    x = np.arange(len(y), dtype="float32")[:, None]
    return arrays(x, y, np.full((5, 1), -1, dtype="float32"), np.zeros(5, dtype=int))


def rows(x):
    return x[:, 0].long().tolist()


def test_holding_out_cuts_the_training_data_in_two_and_drops_the_test_data():
    data = numbered()
    held = data.holding_out(0.1)
    assert sorted(rows(held.x_train) + rows(held.x_test)) == list(range(90))
    for x, y in ((held.x_train, held.y_train), (held.x_test, held.y_test)):
        assert torch.equal(y, data.y_train[rows(x)])
    assert (held.prepare, held.augment) == (data.prepare, data.augment)


@pytest.mark.parametrize(("fraction", "expected"), [(0.1, [4, 3, 2]), (0.5, [20, 15, 10])])
def test_every_class_gives_the_same_fraction(fraction, expected):
    assert numbered().holding_out(fraction).y_test.bincount().tolist() == expected


def test_a_small_class_gives_at_least_one():
    assert numbered((40, 3)).holding_out(0.1).y_test.bincount().tolist() == [4, 1]


def test_a_class_of_one_sample_stays_in_training():
    held = numbered((40, 1)).holding_out(0.1)
    assert held.y_train.bincount().tolist() == [36, 1]
    assert held.y_test.bincount().tolist() == [4]


def test_classes_of_one_sample_each_cannot_be_held_out():
    with pytest.raises(DataError, match="two training samples or more"):
        numbered((1, 1, 1)).holding_out(0.1)


def test_the_seed_decides_what_is_held_out():
    before = torch.get_rng_state()
    chosen = [rows(numbered().holding_out(0.1, seed=seed).x_test) for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_that_leaves_nothing_is_refused(fraction):
    with pytest.raises(ConfigError, match="validation fraction"):
        numbered().holding_out(fraction)


@pytest.mark.parametrize("per_class", [1, 4, 30])
def test_limited_keeps_so_many_of_each_class_and_their_samples(per_class):
    y = np.arange(40) % 4
    x = np.arange(40, dtype="uint8")[:, None]
    data = of(x, y)
    few = data.limited(per_class)
    assert np.bincount(few.y_train).tolist() == [min(per_class, 10)] * 4
    assert np.array_equal(few.x_train[:, 0].numpy() % 4, few.y_train.numpy())
    assert len(set(few.x_train[:, 0].tolist())) == len(few.x_train)
    assert torch.equal(few.x_test, data.x_test)
    assert torch.equal(few.x_train, data.limited(per_class).x_train)


def test_limited_to_nothing_is_refused():
    with pytest.raises(ConfigError, match="samples per class"):
        of(values(6, 4)).limited(0)


@pytest.mark.parametrize("bad_value", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_refused_by_number(bad_value):
    x = values(6, 4, dtype="float32")
    x[3, 2] = bad_value
    with pytest.raises(DataError, match="NaN or infinity in sample 3"):
        of(x)
