"""A crafted pickle in any file that ckd reads runs no code (the fixture looks for its trace), and is refused."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from commands import DISTIL, RUN, TUNE
from safetensors.torch import save

from ckd.deploy import load_network, network_facts
from ckd.errors import CkdError
from ckd.evaluation import Predictions
from ckd.report import load_results
from ckd.teachers import SoftLabels


class Bait:
    """An object array's content, which is the crafted pickle when the array is written."""

    def __init__(self, crafted):
        self.crafted = crafted

    def __reduce__(self):
        return pickle.loads, (self.crafted,)


def as_torch(crafted):
    """The zip file of torch.save, with the crafted pickle as its data."""
    written = io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, written)
    found = io.BytesIO()
    with zipfile.ZipFile(written) as old, zipfile.ZipFile(found, "w") as new:
        for name in old.namelist():
            new.writestr(name, crafted if name.endswith("data.pkl") else old.read(name))
    return found.getvalue()


def as_npz(crafted):
    """An archive whose arrays are of objects."""
    written, objects = io.BytesIO(), np.array([Bait(crafted)], dtype=object)
    names = ("x_train", "y_train", "x_test", "y_test", "logits", "labels", "version")
    np.savez(written, **dict.fromkeys(names, objects))
    return written.getvalue()


def as_entries(crafted):
    """An archive whose entries are no arrays, but the pickle."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as new:
        for name in ("x_train", "y_train", "x_test", "y_test", "logits", "labels", "version"):
            new.writestr(f"{name}.npy", crafted)
    return written.getvalue()


def as_header(crafted):
    """Safetensors with the pickle in the header."""
    return save({"a": torch.zeros(1)}, {"ckd": crafted.decode("latin-1"), "ckd soft labels": crafted.decode("latin-1")})


def as_it_is(crafted):
    return crafted


SHAPES = [as_it_is, as_torch, as_npz, as_entries, as_header]
every_shape = pytest.mark.parametrize("shape", SHAPES)


@every_shape
def test_in_the_place_of_a_result(refused, tmp_path, crafted, shape, monkeypatch):
    (tmp_path / "out").mkdir()
    from ckd.bench import plan

    folder = plan("split-digits", "er", seed=0, n_experiences=2, epochs=1, samples_per_class=20).folder
    (tmp_path / "out" / folder).mkdir(parents=True)
    (tmp_path / "out" / folder / "result.json").write_bytes(shape(crafted))
    refused(RUN, "result.json")


@every_shape
@pytest.mark.parametrize("name", ["result.json", "diverged.json", "suite.json", "predictions.npz"])
def test_in_a_folder_of_results(tmp_path, crafted, shape, name):
    (tmp_path / name).write_bytes(shape(crafted))
    assert load_results(tmp_path).found == ()


@every_shape
def test_in_the_place_of_predictions(tmp_path, crafted, shape):
    (tmp_path / "predictions.npz").write_bytes(shape(crafted))
    with pytest.raises(CkdError, match="predictions"):
        Predictions.load(tmp_path / "predictions.npz")


@every_shape
def test_in_the_place_of_arrays(refused, tmp_path, crafted, shape):
    (tmp_path / "mine.npz").write_bytes(shape(crafted))
    refused(("run", "mine.npz", "--recipe", "er", "--epochs", "1"), "mine.npz")


@every_shape
def test_in_the_place_of_a_teacher(refused, tmp_path, crafted, shape):
    (tmp_path / "t.safetensors").write_bytes(shape(crafted))
    refused((*DISTIL, "--teacher", "t.safetensors"), "t.safetensors")


@every_shape
def test_in_the_place_of_a_network(tmp_path, crafted, shape):
    (tmp_path / "n.safetensors").write_bytes(shape(crafted))
    with pytest.raises(CkdError, match=r"n\.safetensors"):
        network_facts(tmp_path / "n.safetensors")
    with pytest.raises(CkdError, match=r"n\.safetensors"):
        load_network(tmp_path / "n.safetensors", torch.nn.Linear(2, 2))


@every_shape
def test_in_the_place_of_soft_labels(tmp_path, crafted, shape):
    (tmp_path / "labels").write_bytes(shape(crafted))
    with pytest.raises(CkdError, match="soft labels"):
        SoftLabels.read(tmp_path / "labels")
    with pytest.raises(CkdError, match="logits"):
        SoftLabels.of_npz(tmp_path / "labels", torch.eye(2))


@every_shape
def test_in_the_place_of_a_study(refused, tmp_path, crafted, shape):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "study.db").write_bytes(shape(crafted))
    refused(TUNE, "study.db to be one")


ROOTS = {
    "mnist": ["MNIST/processed/training.pt", "MNIST/processed/test.pt", "MNIST/raw/train-images-idx3-ubyte"],
    "cifar10": [f"cifar-10-batches-py/{name}" for name in ("data_batch_1", "test_batch", "batches.meta")],
    "cifar100": ["cifar-100-python/train", "cifar-100-python/test", "cifar-100-python/meta"],
    "sst2": ["text/sst2/train.tsv", "text/sst2/test.tsv"],
    "trec": ["text/trec/train_5500.label", "text/trec/TREC_10.label"],
    "ag-news": ["text/ag_news/train.csv", "text/ag_news/test.csv"],
}


@every_shape
@pytest.mark.parametrize("data", ROOTS)
def test_in_a_data_root(refused, tmp_path, monkeypatch, crafted, shape, data):
    def no_network(self):
        raise RuntimeError("no network in tests")

    for dataset in ("MNIST", "CIFAR10"):
        monkeypatch.setattr(f"torchvision.datasets.{dataset}.download", no_network)
    for name in ROOTS[data]:
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_bytes(shape(crafted))
    command = ("run", data, "--recipe", "naive", "--network", "small-mlp", "--epochs", "1", "--lr", "0.1")
    refused((*command, "--data-root", tmp_path / "root"), "")


@every_shape
def test_in_the_place_of_cifar100_in_one_file(refused, tmp_path, crafted, shape):
    (tmp_path / "cifar100.npz").write_bytes(shape(crafted))
    command = ("run", "cifar100", "--recipe", "naive", "--network", "convnet", "--epochs", "1", "--lr", "0.1")
    refused((*command, "--data-root", tmp_path), "cifar100.npz")


def test_a_result_that_is_json_is_no_reason_to_unpickle_what_lies_beside_it(tmp_path, crafted):
    for name in ("result.pkl", "network.pt", "checkpoint.pt"):
        (tmp_path / name).write_bytes(crafted)
    (tmp_path / "result.json").write_text(json.dumps({"predictions": "result.pkl"}))
    assert load_results(tmp_path).found == ()
