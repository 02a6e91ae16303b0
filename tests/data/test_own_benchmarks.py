"""Benchmarks that a user's function makes: found where they are, given what they ask for, refused by name."""

import importlib.metadata

import pytest
import torch

from ckd.data import arrays, tensor_stream
from ckd.data.registry import find
from ckd.errors import ConfigError, UnknownNameError

SOURCE = """
import torch
from ckd.data import arrays, split

asked = []


def data():
    x = torch.arange(48.0).reshape(12, 4)
    return arrays(x, torch.arange(12) % 6, x + 100, torch.arange(12) % 6)


def plain():
    "Arrays alone."
    return data()


def careful(*, validate=False):
    asked.append(validate)
    return data()


def stream(n_experiences=3, seed=0, data_root="here"):
    "Six classes."
    asked.append((n_experiences, seed, data_root))
    return split(data(), n_experiences)


def whole(*, n_experiences=3, validate=False, samples_per_class=None):
    asked.append((validate, samples_per_class))
    return split(data(), n_experiences)


def fixed():
    return split(data(), 2)


def wrong():
    return [1, 2]


def bare(n):
    return data()
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "mine.py").write_text(SOURCE)
    return str(tmp_path / "mine.py")


def asked(where):
    return find(where).function.__globals__["asked"]


def test_arrays_are_split_as_those_of_a_file(file):
    made = tensor_stream(f"{file}:plain")
    assert [experience.targets.unique().tolist() for experience in made.train] == [[0, 1], [2, 3], [4, 5]]
    assert len(tensor_stream(f"{file}:plain", n_experiences=2).train) == 2
    assert len(tensor_stream(f"{file}:plain", samples_per_class=1).train[0]) == 2


def test_arrays_are_made_into_the_stream_that_is_asked_for(file):
    one, other = (tensor_stream(f"{file}:plain", stream="permuted", seed=seed) for seed in (0, 1))
    assert len(one.train) == 10
    assert not torch.equal(one.train[0].raw(), other.train[0].raw())


def test_a_split_benchmark_can_be_shuffled():
    """By the counts of the classes in each experience."""
    counts = []
    for stream, seed in ((None, 1), ("split", 1), ("shuffled", 1), ("shuffled", 2)):
        made = tensor_stream("split-digits", stream=stream, seed=seed)
        counts.append([len(experience) for experience in made.train])
    assert counts[0] == counts[1] != counts[2] != counts[3]
    assert len(set(map(sum, counts))) == 1


def test_arrays_are_held_out_once(file):
    x, y = torch.arange(48.0).reshape(12, 4), torch.arange(12) % 6
    expected = arrays(x, y, x, y).holding_out()
    held = tensor_stream(f"{file}:plain", validate=True)
    assert sum(map(len, held.train)) == len(expected.y_train) < 12
    taken = tensor_stream(f"{file}:careful", validate=True)  # the function says that it does so itself
    assert sum(map(len, taken.train)) == 12
    assert asked(f"{file}:careful")[-1] is True


def test_a_function_gets_what_it_has_arguments_for(file):
    where = f"{file}:stream"
    assert (find(where).n_experiences, find(where).summary) == (3, "Six classes.")
    assert len(tensor_stream(where).train) == 3
    assert len(tensor_stream(where, n_experiences=2, seed=7, data_root="there").train) == 2
    assert asked(where)[-2:] == [(3, 0, "here"), (2, 7, "there")]
    tensor_stream(f"{file}:whole", validate=True, samples_per_class=1)
    assert asked(where)[-1] == (True, 1)


@pytest.mark.parametrize(
    ("function", "given", "said"),
    [
        ("wrong", {}, r"wrong': expected a TensorStream or Arrays; received \[1, 2\]"),
        ("bare", {}, "a default for every argument; received none for n"),
        ("nothing", {}, "a function of .*mine.py: bare, careful"),
        ("fixed", {"n_experiences": 3}, "an argument n_experiences"),
        ("stream", {"validate": True}, "an argument validate, or let it return Arrays"),
        ("stream", {"samples_per_class": 1}, "an argument samples_per_class"),
        ("stream", {"stream": "permuted"}, "stream of .*expected its own"),
        ("plain", {"n_experiences": 4}, "a divisor of 6"),
        ("plain", {"n_experiences": 0}, "divisor"),
    ],
)
def test_what_cannot_be_made_is_refused_by_name(file, function, given, said):
    with pytest.raises(ConfigError, match=said):
        tensor_stream(f"{file}:{function}", **given)


@pytest.mark.parametrize("where", ["no_such_package:f", "no_such_file.py:f"])
def test_a_place_that_is_not_there_is_refused(where):
    with pytest.raises(ConfigError, match=f"benchmark '{where}'"):
        find(where)


def test_a_file_without_a_function_and_a_stream_that_is_misspelt_are_refused(file):
    with pytest.raises(ConfigError, match=r"mine\.py:function"):
        find(file)
    with pytest.raises(UnknownNameError, match="Did you mean 'rotated'"):
        find(f"{file}:plain", "rotate")


def test_an_entry_point_is_a_name(tmp_path, monkeypatch):
    (tmp_path / "other_benchmarks.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    point = importlib.metadata.EntryPoint("rings", "other_benchmarks:stream", "ckd.benchmarks")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point] * (group == "ckd.benchmarks"))
    assert len(tensor_stream("rings", n_experiences=2).test) == 2
    with pytest.raises(UnknownNameError, match="Did you mean 'rings'"):
        find("ring")
