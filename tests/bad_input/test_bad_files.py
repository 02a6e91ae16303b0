"""A table of other files that hold something else: networks, studies, suites, data roots, soft labels, recipes."""

import json
import struct

import numpy as np
import pytest
import torch
from commands import DISTIL, RUN, TUNE
from safetensors.torch import save

from ckd.errors import CkdError
from ckd.networks import network
from ckd.teachers import SoftLabels

WEIGHTS = network("mlp", (1, 8, 8), 10).state_dict()


def header(text):
    return struct.pack("<Q", len(text)) + text.encode()


def named(name):
    return {"ckd": json.dumps({"version": 1, "facts": {"name": name}})}


NETWORKS = {
    "empty": (b"", "safetensors"),
    "text": (b"not a network", "safetensors"),
    "cut off": (save(WEIGHTS, named("mlp"))[:-9], "safetensors"),
    "a header of 2**60 bytes": (struct.pack("<Q", 2**60), "safetensors"),
    "a header that is no JSON": (header("{" * 5000), "safetensors"),
    "a deep header": (header("[" * 100_000 + "]" * 100_000), "safetensors"),
    "tensors beyond the end": (
        header(json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}})),
        "safetensors",
    ),
    "no name": (save(WEIGHTS), "Add --teacher-network"),
    "facts that are no JSON": (save(WEIGHTS, {"ckd": "{"}), "safetensors"),
    "deep facts": (save(WEIGHTS, {"ckd": "[" * 50_000 + "]" * 50_000}), "recursion"),
    "facts in a list": (save(WEIGHTS, {"ckd": "[]"}), "safetensors"),
    "a name of numbers": (save(WEIGHTS, named(3)), "the name 3"),
    "an unknown name": (save(WEIGHTS, named("mlq")), "Did you mean 'mlp'"),
    "a name that is code": (save(WEIGHTS, named("os:system")), "no code that a file names is run"),
    "a name of a file beside it": (save(WEIGHTS, named("t.py:build")), "If you trust that code"),
    "tensors of another network": (save(WEIGHTS, named("convnet")), "the network's tensors"),
    "tensors left out": (save({"0.weight": torch.zeros(1)}, named("mlp")), "the network's tensors"),
    "no tensors": (save({}, named("mlp")), "the network's tensors"),
}


@pytest.mark.parametrize(("content", "said"), NETWORKS.values(), ids=NETWORKS.keys())
def test_a_teacher_in_a_file_that_holds_no_network(refused, tmp_path, content, said):
    (tmp_path / "t.safetensors").write_bytes(content)
    refused((*DISTIL, "--teacher", "t.safetensors"), said)


STUDIES = {"text": b"no database" * 1000, "cut off": b"SQLite format 3\0" + b"\0" * 50, "zeros": b"\0" * 4096}


@pytest.mark.parametrize("content", STUDIES.values(), ids=STUDIES.keys())
def test_a_study_that_is_none(refused, tmp_path, content):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "study.db").write_bytes(content)
    refused(TUNE, "study.db to be one")


SUITES = {
    "nothing": ("", "suite = Suite(...)"),
    "something else": ("suite = 3", "suite = Suite(...)"),
    "no Python": ("suite = (", "a Python file"),
    "no such module": ("import nowhere", "No module named"),
    "a null": ("suite = 3\0", "a Python file"),
    "no recipe": (
        "from ckd.bench import Suite\nsuite = Suite('', benchmarks=['digits'], recipes=[])",
        "recipes of the suite",
    ),
    "a misspelt protocol": (
        "from ckd.bench import Suite\nsuite = Suite('', benchmarks=['digits'], recipes=['er'], protocol={'epoch': 1})",
        "Did you mean 'epochs'",
    ),
    "seeds of letters": (
        "from ckd.bench import Suite\nsuite = Suite('', benchmarks=['digits'], recipes=['er'], seeds=['x'])",
        "seed: expected a whole number",
    ),
    "a seed of 2**70": (
        "from ckd.bench import Suite\nsuite = Suite('', benchmarks=['digits'], recipes=['er'], seeds=[2**70])",
        "seed: expected a whole number",
    ),
    "a memory of letters": (
        "from ckd.bench import Suite\nsuite = Suite('', benchmarks=['digits'], recipes=['er'], memory_sizes=['x'])",
        "memory size: expected a whole number",
    ),
    "a batch of letters": (
        "from ckd.bench import Suite\n"
        "suite = Suite('', benchmarks=['digits'], recipes=['er'], protocol={'batch_size': '8'})",
        "batch size: expected a whole number",
    ),
    "a rate of letters": (
        "from ckd.bench import Suite\nsuite = Suite('', benchmarks=['digits'], recipes=['er'], protocol={'lr': '8'})",
        "learning rate: expected above 0",
    ),
}


@pytest.mark.parametrize(("text", "said"), SUITES.values(), ids=SUITES.keys())
def test_a_suite_that_is_none(refused, tmp_path, text, said):
    (tmp_path / "suite.py").write_text(text)
    refused(("bench", "suite.py"), said)


def test_a_suite_that_is_a_folder_or_not_there(refused, tmp_path):
    (tmp_path / "suite.py").mkdir()
    refused(("bench", "suite.py"), "a Python file")
    refused(("bench", "nowhere.py"), "no such file")


ROOTS = {
    "MNIST of text": ("mnist", {f"MNIST/raw/{name}": b"text" for name in ("train-images-idx3-ubyte",)}, "MNIST"),
    "MNIST cut off": (
        "mnist",
        {
            f"MNIST/raw/{name}": b"\0\0\10\3"
            for name in (
                "train-images-idx3-ubyte",
                "train-labels-idx1-ubyte",
                "t10k-images-idx3-ubyte",
                "t10k-labels-idx1-ubyte",
            )
        },
        "train-images-idx3-ubyte is not the file that was published",
    ),
    "CIFAR-10 of text": ("cifar10", {"cifar-10-batches-py/data_batch_1": b"text"}, "not as published: data_batch_1"),
    "CIFAR-100 in no npz": ("cifar100", {"cifar100.npz": b"text"}, "cifar100.npz"),
    "SST-2 without labels": ("sst2", {"text/sst2/train.tsv": b"a film\n"}, "a file as published"),
    "SST-2 with a label 7": ("sst2", {"text/sst2/train.tsv": b"a film\t7\n"}, "a file as published"),
    "SST-2 of nothing": ("sst2", {"text/sst2/train.tsv": b""}, "samples"),
    "SST-2 in no UTF-8": ("sst2", {"text/sst2/train.tsv": b"\xff\t1\n"}, "a file as published"),
    "TREC of another class": ("trec", {"text/trec/train_5500.label": b"XXXX:a what\n"}, "a file as published"),
    "AG News of two columns": ("ag-news", {"text/ag_news/train.csv": b"1,title\n"}, "a file as published"),
    "AG News with a field of 200,000": (
        "ag-news",
        {"text/ag_news/train.csv": b'"1","' + b"a" * 200_000 + b'","b"\n'},
        "a file as published",
    ),
    "nothing": ("subj", {}, "the published file"),
}


@pytest.mark.parametrize(("data", "files", "said"), ROOTS.values(), ids=ROOTS.keys())
def test_a_data_root_that_holds_something_else(refused, tmp_path, monkeypatch, data, files, said):
    def no_network(self):
        raise RuntimeError("no network in tests")

    for dataset in ("MNIST", "CIFAR10"):
        monkeypatch.setattr(f"torchvision.datasets.{dataset}.download", no_network)
    for name, content in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_bytes(content)
    command = ("run", data, "--recipe", "naive", "--network", "small-mlp", "--epochs", "1", "--lr", "0.1")
    refused((*command, "--data-root", tmp_path / "root"), said)


RECIPES = {
    "nothing": ("", "a function under @recipe"),
    "no Python": ("def", "invalid syntax"),
    "an argument without a default": ("def mine(size): ...", "a default for every argument"),
    "no objective": ("def mine(): return 3", "an Objective"),
    "not that function": ("def other(): ...", "a function of"),
}


@pytest.mark.parametrize(("text", "said"), RECIPES.values(), ids=RECIPES.keys())
def test_a_recipe_of_ones_own_that_is_none(refused, tmp_path, text, said):
    (tmp_path / "mine.py").write_text(text)
    name = "mine.py" if said.startswith(("a function under", "invalid")) else "mine.py:mine"
    refused((*RUN, "--recipe", name), said)


LOGITS = {
    "text": lambda file: file.write_text("logits"),
    "nothing": lambda file: file.write_bytes(b""),
    "objects": lambda file: np.savez(file, logits=np.array([[{}]])),
    "a name": lambda file: np.savez(file, logits=np.array([["a"]])),
    "1e300": lambda file: np.savez(file, logits=np.full((2, 3), 1e300)),
    "NaN": lambda file: np.savez(file, logits=np.full((2, 3), np.nan)),
    "one row": lambda file: np.savez(file, logits=np.zeros(3)),
    "no class": lambda file: np.savez(file, logits=np.zeros((2, 0))),
    "probabilities": lambda file: np.savez(file, logits=np.full((2, 2), 0.5)),
    "another length": lambda file: np.savez(file, logits=np.zeros((3, 2))),
}


@pytest.mark.parametrize("write", LOGITS.values(), ids=LOGITS.keys())
def test_logits_of_another_program_that_are_none(tmp_path, write):
    write(tmp_path / "logits.npz")
    with pytest.raises(CkdError, match=r"logits\.npz"):
        SoftLabels.of_npz(tmp_path / "logits.npz", torch.eye(2))


@pytest.mark.parametrize("content", [content for content, _ in NETWORKS.values()], ids=NETWORKS.keys())
def test_soft_labels_in_a_file_of_something_else(tmp_path, content):
    (tmp_path / "labels").write_bytes(content)
    with pytest.raises(CkdError, match="soft labels"):
        SoftLabels.read(tmp_path / "labels")
