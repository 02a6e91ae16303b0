"""A table of npz files that cannot be trained on, through the command: what is in them, and what the user is told."""

import io
import struct
import zipfile

import numpy as np
import pytest

from ckd.data.sources import npz

X, Y = np.random.default_rng(0).random((40, 6), dtype="float32"), np.arange(40) % 2


def with_(array, index, value):
    array = array.copy()
    array[index] = value
    return array


ARRAYS = {
    "a label beyond int64": ({"y_train": with_(Y.astype(np.uint64), 3, 2**63 + 5)}, "highest 9223372036854775813"),
    "a label of 2**64 - 1": ({"y_train": with_(Y.astype(np.uint64), 3, 2**64 - 1)}, "highest 18446744073709551615"),
    "a label of 1e300": ({"y_train": with_(Y.astype(float), 3, 1e300)}, "highest 1e+300"),
    "a test label of 1e300": ({"y_test": with_(Y.astype(float), 3, 1e300)}, "y_test: expected whole numbers"),
    "a label of 2.0**63": ({"y_train": with_(Y.astype(float), 3, 2.0**63)}, "y_train: expected whole numbers"),
    "a label of -1": ({"y_train": with_(Y, 3, -1)}, "lowest -1"),
    "a label of 0.5": ({"y_train": with_(Y.astype(float), 3, 0.5)}, "whole numbers"),
    "a label of NaN": ({"y_train": with_(Y.astype(float), 3, np.nan)}, "whole numbers"),
    "a label of infinity": ({"y_train": with_(Y.astype(float), 3, np.inf)}, "whole numbers"),
    "a label of 10**12": ({"y_train": with_(Y, 3, 10**12)}, "no sample of class 2"),
    "a gap": ({"y_train": 2 * Y}, "no sample of class 1"),
    "a test class that is not taught": ({"y_test": with_(Y, 3, 2)}, "a label 2"),
    "one-hot labels": ({"y_train": np.eye(2)[Y]}, "of shape (40, 2)"),
    "labels as letters": ({"y_train": Y.astype(str)}, "whole numbers"),
    "labels as dates": ({"y_train": Y.astype("datetime64[s]")}, "whole numbers"),
    "complex labels": ({"y_train": Y + 0j}, "whole numbers"),
    "labels as truth": ({"y_train": Y.astype(bool)}, "whole numbers"),
    "labels of several fields": ({"y_train": np.zeros(40, [("a", int)])}, "whole numbers"),
    "fewer labels": ({"y_train": Y[:39]}, "as many samples as labels"),
    "no label": ({"y_train": Y[:0], "x_train": X[:0]}, "as many samples as labels"),
    "no test sample": ({"y_test": Y[:0], "x_test": X[:0]}, "as many samples as labels"),
    "no y_test": ({"y_test": None}, "(no y_test)"),
    "nothing": ({"x_train": None, "y_train": None, "x_test": None, "y_test": None}, "received none"),
    "NaN": ({"x_train": with_(X, (7, 2), np.nan)}, "NaN or infinity in sample 7"),
    "infinity": ({"x_train": with_(X, (7, 2), np.inf)}, "NaN or infinity in sample 7"),
    "1e300": ({"x_train": with_(X.astype(float), (7, 2), 1e300)}, "NaN or infinity in sample 7"),
    "1e4000": ({"x_train": with_(X.astype(np.longdouble), (7, 2), np.longdouble("1e4000"))}, "infinity in sample 7"),
    "a test sample of -1e300": ({"x_test": with_(X.astype(float), (7, 2), -1e300)}, "x_test: expected finite numbers"),
    "samples without dimensions": ({"x_train": X[:, 0]}, "at least 2 dimensions"),
    "samples of no value": ({"x_train": X[:, :0], "x_test": X[:, :0]}, "at least 2 dimensions"),
    "int64 samples": ({"x_train": X.astype(int)}, "uint8 or floating"),
    "complex samples": ({"x_train": X + 0j}, "uint8 or floating"),
    "samples as letters": ({"x_train": X.astype(str)}, "uint8 or floating"),
    "other test samples": ({"x_test": X[:, :5]}, "as in x_train"),
    "uint8 test samples": ({"x_test": X.astype(np.uint8)}, "as in x_train"),
    "objects": ({"x_train": X.astype(object)}, "an array of Python objects"),
    "labels as objects": ({"y_train": Y.astype(object)}, "astype('int64')"),
}


@pytest.mark.parametrize(("changes", "said"), ARRAYS.values(), ids=ARRAYS.keys())
def test_arrays_that_cannot_be_trained_on(refused, arrays_in, changes, said):
    refused(("run", arrays_in(**changes), "--recipe", "er", "--epochs", "1"), said)


def rewritten(file, act):
    """The archive anew, with `act(name, content)` as what it holds."""
    with zipfile.ZipFile(file) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(file, "w") as new:
        for name, content in entries.items():
            new.writestr(name, act(name, content))


def encrypted(file):
    """As if encrypted: the flag is set in both headers of every entry."""
    content = bytearray(file.read_bytes())
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = content.find(signature)
        while at >= 0:
            content[at + flags] |= 1
            at = content.find(signature, at + 4)
    file.write_bytes(content)


def method(number):
    """As if compressed by the method with this number."""

    def act(file):
        content = bytearray(file.read_bytes())
        for signature, place in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
            at = content.find(signature)
            while at >= 0:
                struct.pack_into("<H", content, at + place, number)
                at = content.find(signature, at + 4)
        file.write_bytes(content)

    return act


def npy(array):
    opened = io.BytesIO()
    np.save(opened, array)
    return opened.getvalue()


def shape(text):
    """The arrays claim this shape in their headers."""

    def act(name, content):
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {text}, }}".ljust(117) + "\n"
        return content[:8] + struct.pack("<H", len(header)) + header.encode() + b"\0" * 64

    return lambda file: rewritten(file, act)


FILES = {
    "empty": (lambda file: file.write_bytes(b""), "mine.npz"),
    "cut off": (lambda file: file.write_bytes(file.read_bytes()[:-30]), "mine.npz"),
    "text": (lambda file: file.write_text("x_train, y_train"), "mine.npz"),
    "one array": (lambda file: file.write_bytes(npy(X)), "mine.npz"),
    "bits turned": (lambda file: rewritten(file, lambda n, c: bytes([c[0] ^ 255]) + c[1:]), "x_train"),
    "encrypted": (encrypted, "encrypted"),
    "compressed in an unknown way": (method(77), "compression"),
    "said to be lzma": (method(14), "mine.npz"),
    "said to be bzip2": (method(12), "mine.npz"),
    "said to be deflated": (method(8), "mine.npz"),
    "10**12 values": (shape("(1000000000000,)"), "mine.npz"),
    "2**70 values": (shape(f"({2**70},)"), "mine.npz"),
    "-1 values": (shape("(-1, 3)"), "mine.npz"),
    "a shape of letters": (shape("('a',)"), "mine.npz"),
    "a shape of code": (shape("(__import__('os').abort(),)"), "mine.npz"),
    "a header of brackets": (shape("(" * 40 + ")" * 40), "x_train"),
    "a folder": (lambda file: (file.unlink(), file.mkdir()), "directory"),
}


@pytest.mark.parametrize(("damage", "said"), FILES.values(), ids=FILES.keys())
def test_files_that_are_no_arrays(refused, arrays_in, damage, said):
    file = arrays_in()
    damage(file)
    refused(("run", file, "--recipe", "er", "--epochs", "1"), said)


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble, ">f4", ">f8", np.float64])
@pytest.mark.parametrize("of_labels", ["uint8", ">i8", "float16", "uint64", "int32"])
def test_any_floating_samples_and_whole_labels_are_taken(arrays_in, dtype, of_labels):
    x, y = X.astype(dtype), Y.astype(of_labels)
    found = npz(arrays_in(x_train=x, y_train=y, x_test=x, y_test=y))
    assert np.array_equal(found.x_train.numpy(), x.astype("float32"))
    assert found.y_train.tolist() == Y.tolist()
