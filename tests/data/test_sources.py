"""Where samples come from: embedded digits, a user's file, and torchvision's folders without a download."""

import gc
import gzip
import hashlib
import os
import struct
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torchvision.datasets import CIFAR10, MNIST

from ckd.data.preparation import RandomCrop, RandomFlip
from ckd.data.sources import cifar10, cifar100, digits, mnist, npz
from ckd.data.sources.root import resolve
from ckd.errors import DataError

KEYS = ("x_train", "y_train", "x_test", "y_test")


@pytest.fixture(autouse=True)
def no_download(monkeypatch):
    """What torchvision says without a network."""

    def refuse(self):
        raise RuntimeError("no network in tests")

    for dataset in (MNIST, CIFAR10):
        monkeypatch.setattr(dataset, "download", refuse)


# digits ------------------------------------------------------------------------------------------------------------


def test_digits_are_scikit_learns():
    bunch, data = load_digits(), digits()
    images, labels = torch.cat([data.x_train, data.x_test]), torch.cat([data.y_train, data.y_test])
    assert (images.dtype, tuple(images.shape)) == (torch.uint8, (1797, 1, 8, 8))
    ours = sorted(zip(labels.tolist(), images.flatten(1).tolist(), strict=True))
    theirs = sorted(zip(bunch.target.tolist(), bunch.data.astype(int).tolist(), strict=True))
    assert ours == theirs


def test_every_fifth_digit_of_a_class_is_for_testing():
    bunch, data = load_digits(), digits()
    for c in range(10):
        members = bunch.images[bunch.target == c]
        assert np.array_equal(data.x_test[data.y_test == c, 0].numpy(), members[::5])


def test_digits_are_scaled_to_one():
    data = digits()
    assert torch.equal(data.prepare(data.x_train), data.x_train.float() / 16)
    assert data.augment == ()


# npz ---------------------------------------------------------------------------------------------------------------


def four_arrays(n=6):
    x, y = np.random.default_rng(0).random((n, 4), dtype="float32"), np.arange(n) % 3
    return {"x_train": x, "y_train": y, "x_test": x + 1, "y_test": y}


def test_an_npz_file_holds_the_four_arrays(tmp_path):
    given = four_arrays()
    np.savez(tmp_path / "mine.npz", **given, comment="another array does no harm")
    data = npz(tmp_path / "mine.npz")
    for key in KEYS:
        assert np.array_equal(getattr(data, key).numpy(), given[key])


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_is_named(tmp_path, key):
    np.savez(tmp_path / "mine.npz", **{k: v for k, v in four_arrays().items() if k != key})
    with pytest.raises(DataError, match=rf"\(no {key}\)"):
        npz(tmp_path / "mine.npz")


@pytest.mark.parametrize(
    ("key", "named"),
    [("x_train", "x_train and y_train"), ("y_test", "x_test and y_test")],
)
def test_mismatched_lengths_are_named(tmp_path, key, named):
    given = four_arrays()
    np.savez(tmp_path / "mine.npz", **{**given, key: given[key][1:]})
    with pytest.raises(DataError, match=named):
        npz(tmp_path / "mine.npz")


def write_nothing(file):
    """No file at all."""


def write_text(file):
    file.write_text("x_train, y_train")


def write_a_folder(file):
    file.mkdir()


def write_objects(file):
    np.savez(file, **{**four_arrays(), "x_train": np.array([None] * 6)})


def write_half(file):
    np.savez(file, **four_arrays())
    file.write_bytes(file.read_bytes()[:100])


def write_empty(file):
    file.touch()


def write_npy(file):
    with file.open("wb") as stream:
        np.save(stream, four_arrays()["x_train"])


def write_damaged(file):
    np.savez_compressed(file, **four_arrays())
    content = bytearray(file.read_bytes())
    start = content.find(b"x_train.npy") + len("x_train.npy") + 20
    content[start : start + 40] = b"\xff" * 40
    file.write_bytes(content)


@pytest.mark.parametrize(
    "write",
    [
        write_nothing,
        write_text,
        write_a_folder,
        write_objects,
        write_half,
        write_empty,
        write_npy,
        write_damaged,
    ],
)
def test_what_is_not_an_npz_file_is_refused_by_its_path_and_closed(tmp_path, write):
    file = tmp_path / "mine.npz"
    write(file)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")  # a file that is left open is told when it is collected
        assert str(file) in refusal(file)
    assert [str(warning.message) for warning in told] == []


def refusal(file):
    """What the error is about; whatever it kept alive is gone."""
    with pytest.raises(DataError) as error:
        npz(file)
    what = error.value.what
    del error
    gc.collect()
    return what


# torchvision's folders ---------------------------------------------------------------------------------------------


def write_idx(file, values):
    """An idx file of bytes, as MNIST's are: magic number (type 8, dimensions), sizes, bytes."""
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    file.write_bytes(header + values.astype("uint8").tobytes())


@pytest.fixture
def tiny_mnist(tmp_path, monkeypatch):
    """A data root with MNIST files of 20 training and 10 test images; the arrays by the names of `Arrays`."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    arrays, random = {}, np.random.default_rng(0)
    for name, part, n in (("train", "train", 20), ("t10k", "test", 10)):
        arrays[f"x_{part}"], arrays[f"y_{part}"] = random.integers(0, 256, (n, 28, 28)), np.arange(n) % 10
        write_idx(raw / f"{name}-images-idx3-ubyte", arrays[f"x_{part}"])
        write_idx(raw / f"{name}-labels-idx1-ubyte", arrays[f"y_{part}"])
    published = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(raw.iterdir(), key=_order)}
    monkeypatch.setattr(sys.modules["ckd.data.sources.mnist"], "CHECKSUMS", published)
    return tmp_path, arrays


def test_mnist_files_that_are_there_are_read_without_a_download(tiny_mnist):
    root, arrays = tiny_mnist
    data = mnist(root)
    for part in ("train", "test"):
        assert np.array_equal(getattr(data, f"x_{part}").numpy(), arrays[f"x_{part}"][:, None])
        assert np.array_equal(getattr(data, f"y_{part}").numpy(), arrays[f"y_{part}"])
    assert (data.x_train.dtype, data.y_train.dtype) == (torch.uint8, torch.int64)
    assert data.input_shape == (1, 28, 28)


def test_mnist_is_divided_by_255_and_not_normalised(tiny_mnist):
    root, arrays = tiny_mnist
    data = mnist(root)
    assert np.array_equal(data.prepare(data.x_train)[:, 0].numpy(), arrays["x_train"].astype("float32") / 255)


def _order(file):
    return file.name.startswith("t10k"), "labels" in file.name


def flipped(content):
    return bytes([*content[:-1], content[-1] ^ 1])


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize("damage", [gzip.compress, flipped, lambda content: content[:-1], lambda content: b""])
def test_damaged_mnist_files_are_refused_by_name(tiny_mnist, damage, name):
    root, _ = tiny_mnist
    file = root / "MNIST" / "raw" / name
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match=f"damaged ones .{name} is not the file that was published"):
        mnist(root)


def test_old_mnist_files_of_torchvision_are_not_what_is_read(tiny_mnist):
    root, arrays = tiny_mnist
    folder = root / "MNIST" / "processed"
    folder.mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save((torch.zeros(3, 28, 28, dtype=torch.uint8), torch.zeros(3)), folder / name)
    assert np.array_equal(mnist(root).y_train.numpy(), arrays["y_train"])


def test_damaged_cifar_files_are_named(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"cut off")
    with pytest.raises(DataError, match=r"missing or not as published: data_batch_1, .*no network in tests"):
        cifar10(tmp_path)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.zeros((200, 32, 32, 3), "float32"), "uint8 images"),
        (np.zeros((200, 32, 32), "uint8"), "uint8 images"),
        (np.zeros((200, 3072), "uint8"), "uint8 images"),
        (np.zeros((200, 32, 32, 3), "int64"), "uint8 or floating"),
        (np.zeros((199, 32, 32, 3), "uint8"), "as many samples as labels"),
    ],
)
def test_a_cifar100_file_of_something_else_is_refused(tmp_path, x, said):
    y = np.arange(200) % 100
    np.savez(tmp_path / "cifar100.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    with pytest.raises(DataError, match=said):
        cifar100(tmp_path)


EVERY_SOURCE = pytest.mark.parametrize("source", [mnist, cifar10, cifar100])


@EVERY_SOURCE
def test_a_root_that_cannot_be_written_is_refused(tmp_path, source):
    (tmp_path / "file").touch()
    root = tmp_path / "file" / "root"  # not even root can make a folder below a file
    with pytest.raises(DataError, match="can be written") as error:
        source(root)
    assert str(root) in str(error.value)
    assert "--data-root" in error.value.fix


@EVERY_SOURCE
def test_a_download_that_fails_is_explained(tmp_path, source):
    with pytest.raises(DataError, match="no network in tests") as error:
        source(tmp_path)
    assert str(tmp_path) in error.value.what


def test_the_root_is_in_the_home_folder_unless_given(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve(None) == tmp_path / ".cache" / "ckd"
    assert resolve("~/data") == tmp_path / "data"


def test_cifar100_is_read_from_an_npz_file_under_the_root(tmp_path):
    random = np.random.default_rng(0)
    x, y = random.integers(0, 256, (200, 32, 32, 3), dtype="uint8"), np.arange(200) % 100
    np.savez(tmp_path / "cifar100.npz", x_train=x, y_train=y, x_test=x[::-1], y_test=y[::-1])
    data = cifar100(tmp_path)
    assert np.array_equal(data.x_train.numpy(), x.transpose(0, 3, 1, 2))
    assert np.array_equal(data.x_test.numpy(), x[::-1].transpose(0, 3, 1, 2))
    assert (data.y_train.tolist(), data.y_test.tolist()) == (y.tolist(), y[::-1].tolist())
    assert data.augment == (RandomCrop(4), RandomFlip(0.5))
    assert data.prepare_train.random
    assert not data.prepare.random


def test_a_cifar100_file_without_a_key_is_refused(tmp_path):
    np.savez(tmp_path / "cifar100.npz", x_train=np.zeros((1, 32, 32, 3), "uint8"))
    with pytest.raises(DataError, match="no y_train, x_test, y_test"):
        cifar100(tmp_path)


# the real data -----------------------------------------------------------------------------------------------------


@pytest.fixture
def data_root():
    root = os.environ.get("CKD_DATA_ROOT")
    if not root or not Path(root).is_dir():
        pytest.skip("CKD_DATA_ROOT names no folder with the real data sets")
    return Path(root)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("source", "shape", "n_train", "n_classes", "grey_mean"),
    [
        (mnist, (1, 28, 28), 60_000, 10, 0.1307),
        (cifar10, (3, 32, 32), 50_000, 10, 0.4734),
        (cifar100, (3, 32, 32), 50_000, 100, 0.4782),
    ],
)
def test_the_real_data_is_whole(data_root, source, shape, n_train, n_classes, grey_mean):
    data = source(data_root)
    assert tuple(data.x_train.shape) == (n_train, *shape)
    assert tuple(data.x_test.shape) == (10_000, *shape)
    assert data.input_shape == shape
    assert data.n_classes == n_classes
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert (x.dtype, y.dtype) == (torch.uint8, torch.int64)
        assert (int(x.min()), int(x.max())) == (0, 255)
        assert y.unique().tolist() == list(range(n_classes))
    assert data.x_train.double().mean().item() / 255 == pytest.approx(grey_mean, abs=1e-3)


@pytest.mark.realdata
@pytest.mark.parametrize("source", [cifar10, cifar100])
def test_real_colour_images_come_out_standardised(data_root, source):
    data = source(data_root)
    inputs = data.prepare(data.x_train[::5])  # CIFAR-100 may be in the order of its classes
    assert inputs.dtype == torch.float32
    assert inputs.mean((0, 2, 3)).tolist() == pytest.approx([0.0] * 3, abs=0.05)
    assert inputs.std((0, 2, 3)).tolist() == pytest.approx([1.0] * 3, abs=0.05)


@pytest.mark.realdata
def test_every_class_of_cifar_has_equally_many(data_root):
    assert cifar10(data_root).y_train.bincount().tolist() == [5000] * 10
    assert cifar100(data_root).y_train.bincount().tolist() == [500] * 100
