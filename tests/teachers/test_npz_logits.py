"""Logits of another program, in the order of the inputs."""

import numpy as np
import pytest
import scipy.sparse
import torch

from ckd.errors import DataError
from ckd.outputs import logits
from ckd.teachers import SoftLabels


def values(*shape, dtype=np.float32):
    return np.random.default_rng(0).normal(size=shape or (7, 3)).astype(dtype)


def inputs(n=7):
    return torch.randn(n, 2, 2, generator=torch.Generator().manual_seed(0))


def saved(tmp_path, **arrays):
    np.savez(tmp_path / "z.npz", **arrays)
    return tmp_path / "z.npz"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("names", [["logits"], ["out"], ["logits", "labels"]], ids=", ".join)
def test_they_are_found_by_their_inputs(tmp_path, names, dtype):
    z, x = values(dtype=dtype), inputs()
    labels = SoftLabels.of_npz(saved(tmp_path, **dict(zip(names, [z, np.arange(7)], strict=False))), x)
    rows = torch.tensor([4, 0, 4])
    np.testing.assert_array_equal(labels.outputs(x[rows])[logits], z[rows].astype(np.float32))
    with pytest.raises(DataError, match="3 of 3 that are not among its 7"):
        labels.outputs(x[:3] + 1)


def test_inputs_in_batches_compressed_arrays_and_known_classes(tmp_path):
    np.savez_compressed(tmp_path / "z.npz", values())
    labels = SoftLabels.of_npz(str(tmp_path / "z.npz"), iter(torch.split(inputs(), 3)), classes=[2, 0])
    assert torch.equal(labels.outputs(inputs())[logits], torch.from_numpy(values()))
    assert labels.valid(3, None, torch.device("cpu")).tolist() == [True, False, True]


@pytest.mark.parametrize("shape", [(7, 4, 3), (7, 3, 2, 2)])
def test_logits_of_every_place(tmp_path, shape):
    z = values(*shape)
    labels = SoftLabels.of_npz(saved(tmp_path, logits=z), inputs())
    assert labels.about.classes == 3
    np.testing.assert_array_equal(labels.outputs(inputs())[logits], z)


@pytest.mark.parametrize("n", [6, 8, 14])
def test_as_many_inputs_as_rows(tmp_path, n):
    file = saved(tmp_path, logits=values())
    with pytest.raises(DataError, match=f"expected as many inputs as its 7 rows; received {n}.*every view"):
        SoftLabels.of_npz(file, inputs(n))


def test_no_inputs(tmp_path):
    with pytest.raises(DataError, match="expected as many inputs as its 7 rows; received 0"):
        SoftLabels.of_npz(saved(tmp_path, logits=values()), [])


def softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


REFUSED = {
    "a row of numbers": ({"logits": values(7)}, r"float32 of shape \(7,\)"),
    "a number": ({"logits": np.float32(3)}, r"float32 of shape \(\)"),
    "labels": ({"logits": np.zeros((7, 3), int)}, "int64 of shape.*before any argmax"),
    "text": ({"logits": np.array([["a", "b"]])}, "<U1 of shape"),
    "nothing": ({"logits": np.zeros((0, 3))}, r"shape \(0, 3\)"),
    "no classes": ({"logits": np.zeros((7, 0))}, r"shape \(7, 0\)"),
    "complex numbers": ({"logits": values().astype(complex)}, "complex128"),
    "NaN": ({"logits": np.where(np.arange(7)[:, None] == 4, np.nan, values())}, "NaN or infinity in row 4"),
    "infinity": ({"logits": np.where(np.arange(7)[:, None] == 2, -np.inf, values())}, "NaN or infinity in row 2"),
    "probabilities": ({"logits": softmax(values())}, "probabilities: no value below 0.*logarithms"),
    "several arrays": ({"train": values(), "test": values()}, "the arrays train, test"),
    "no array": ({}, "no array"),
    "objects": ({"logits": np.array([[{}]])}, "Python objects.*astype"),
}


@pytest.mark.parametrize(("arrays", "message"), REFUSED.values(), ids=REFUSED)
def test_other_arrays_are_refused(tmp_path, arrays, message):
    with pytest.raises(DataError, match=rf"logits in .*expected one floating array of finite logits.*{message}"):
        SoftLabels.of_npz(saved(tmp_path, **arrays), inputs())


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "dia", "bsr"])
def test_sparse_matrices_are_refused(tmp_path, kind):
    scipy.sparse.save_npz(tmp_path / "z.npz", scipy.sparse.random_array((7, 3), format=kind))
    with pytest.raises(DataError, match=r"the arrays .*of a sparse matrix its \.toarray\(\)"):
        SoftLabels.of_npz(tmp_path / "z.npz", inputs())


def test_what_is_no_npz_file(tmp_path):
    file = tmp_path / "z.npz"
    whole = saved(tmp_path, logits=values()).read_bytes()
    for content in (b"", b"logits", whole[: len(whole) // 2], np.array(values()).dumps()):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"logits in .*Check the path"):
            SoftLabels.of_npz(file, inputs())
    np.save(tmp_path / "z.npy", values())
    for other in (tmp_path / "none.npz", tmp_path, tmp_path / "z.npy"):
        with pytest.raises(DataError, match=r"logits in .*Check the path"):
            SoftLabels.of_npz(other, inputs())


def test_a_damaged_archive(tmp_path):
    whole = bytearray(saved(tmp_path, logits=values()).read_bytes())
    whole[200] ^= 4
    (tmp_path / "z.npz").write_bytes(whole)
    with pytest.raises(DataError, match="logits in "):
        SoftLabels.of_npz(tmp_path / "z.npz", inputs())
