"""Tensor streams as ordinary Avalanche benchmarks, and the benchmarks by name."""

import pickle
import random

import avalanche.benchmarks  # noqa: F401  (importing it draws from numpy's global generator; building must not)
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ckd.data import BENCHMARKS, Arrays, TensorStream, arrays, as_benchmark, benchmark, permuted, split, tensor_stream
from ckd.data.preparation import Normalise, Preparation, RandomCrop, RandomFlip, Scale
from ckd.errors import ConfigError, DataError, UnknownNameError

STREAMS = pytest.mark.parametrize("make", [split, permuted])


def colour(n=24, n_classes=4):
    """Colour images that are augmented in training, as CIFAR is."""
    g = torch.Generator().manual_seed(0)
    x = torch.randint(256, (n, 3, 6, 6), generator=g, dtype=torch.uint8)
    y = torch.arange(n) % n_classes
    prepare = Preparation((Scale(255.0), Normalise((0.5, 0.4, 0.3), (0.2, 0.2, 0.3))))
    return Arrays(x, y, x[:8], y[:8], prepare, (RandomCrop(2), RandomFlip()))


def global_states():
    """The states of torch's, numpy's and Python's global generators, as bytes that can be compared."""
    return pickle.dumps((torch.get_rng_state().numpy(), np.random.get_state(), random.getstate()))  # noqa: NPY002


# as_benchmark ------------------------------------------------------------------------------------------------------


@STREAMS
def test_the_streams_are_as_long_as_the_tensors(make):
    stream = make(colour(), 2)
    built = as_benchmark(stream)
    assert built.tensors is stream
    assert (built.train_stream.name, built.test_stream.name) == ("train", "test")
    assert [len(e.dataset) for e in built.train_stream] == [len(e) for e in stream.train]
    assert [len(e.dataset) for e in built.test_stream] == [len(e) for e in stream.test]
    assert [e.current_experience for e in built.train_stream] == [0, 1]


def test_the_experiences_know_their_classes():
    built = as_benchmark(split(colour(), 2))
    for streams in (built.train_stream, built.test_stream):
        assert [e.classes_in_this_experience for e in streams] == [[0, 1], [2, 3]]
    assert set(built.train_stream[1].classes_seen_so_far) == {0, 1, 2, 3}
    assert set(built.train_stream[0].future_classes) == {2, 3}


@pytest.mark.parametrize(("task_labels", "expected"), [(False, [0, 0]), (True, [0, 1])])
@STREAMS
def test_task_labels_are_0_or_the_index(make, task_labels, expected):
    built = as_benchmark(make(colour(), 2), task_labels=task_labels)
    for streams in (built.train_stream, built.test_stream):
        assert [e.task_labels for e in streams] == [[t] for t in expected]
        assert [{item[2] for item in e.dataset} for e in streams] == [{t} for t in expected]


@STREAMS
def test_avalanche_serves_the_prepared_test_samples(make):
    stream = make(colour(), 2)
    for served, held in zip(as_benchmark(stream).test_stream, stream.test, strict=True):
        rows = slice(None) if held.rows is None else held.rows
        expected = stream.prepare_test(held.raw()[rows])
        x, y, _ = next(iter(DataLoader(served.dataset.eval(), batch_size=len(held))))
        assert torch.equal(x, expected)
        assert torch.equal(y, held.targets)


@STREAMS
def test_avalanche_serves_the_augmented_training_samples(make):
    stream = make(colour(), 2)
    for served, held in zip(as_benchmark(stream).train_stream, stream.train, strict=True):
        for i in (0, 3):
            raw, label = held[i]
            with torch.random.fork_rng():
                torch.manual_seed(5)
                expected = stream.prepare_train(raw[None])[0]
                torch.manual_seed(5)
                x, y, _ = served.dataset.train()[i]
            assert torch.equal(x, expected)
            assert y == label


def test_the_test_stream_is_not_augmented_even_before_a_strategy_evaluates_it():
    stream = split(colour(), 2)
    served = as_benchmark(stream).test_stream[0].dataset
    held = stream.test[0]
    assert torch.equal(torch.stack([x for x, *_ in served]), stream.prepare_test(held.raw()[held.rows]))


@STREAMS
def test_building_leaves_every_global_generator_alone(make):
    before = global_states()
    as_benchmark(make(colour(), 2))
    assert global_states() == before


def test_reading_test_samples_leaves_every_global_generator_alone():
    dataset = as_benchmark(split(colour(), 2)).test_stream[0].dataset.eval()
    before = global_states()
    assert len(list(dataset)) == 4
    assert global_states() == before


# by name -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def npz_file(tmp_path):
    """npz_file(n_classes) -> the path of a file with 10 samples of each class."""

    def write(n_classes):
        y = np.arange(10 * n_classes) % n_classes
        x = np.random.default_rng(0).random((len(y), 4), dtype="float32")
        np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x, y_test=y)
        return str(tmp_path / "mine.npz")

    return write


@pytest.mark.parametrize("name", ["split-digits", "permuted-digits"])
def test_a_benchmark_is_built_by_name(name):
    built = benchmark(name)
    assert len(built.train_stream) == len(built.test_stream) == BENCHMARKS[name].n_experiences
    assert isinstance(built.tensors, TensorStream)
    assert built.tensors.n_classes == 10
    assert len(benchmark(name, n_experiences=2).train_stream) == 2


def test_the_seed_reaches_the_stream():
    first = [tensor_stream("permuted-digits", n_experiences=1, seed=s).train[0].raw() for s in (0, 0, 1)]
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])


def test_task_labels_are_passed_on():
    built = benchmark("split-digits", task_labels=True)
    assert [e.task_labels for e in built.train_stream] == [[0], [1], [2], [3], [4]]


def test_validating_tests_on_a_tenth_of_the_training_data():
    whole, held = (tensor_stream("split-digits", n_experiences=1, validate=v) for v in (False, True))
    n = len(whole.train[0])
    assert len(held.train[0]) + len(held.test[0]) == n
    assert len(held.test[0]) == pytest.approx(n / 10, abs=5)

    def samples(experience):
        return {tuple(x.flatten().tolist()) for x, _ in experience}

    assert samples(held.train[0]) | samples(held.test[0]) == samples(whole.train[0])
    assert samples(held.test[0]).isdisjoint(samples(whole.test[0]))


@pytest.mark.parametrize(("name", "near"), [("split-digit", "split-digits"), ("permuted_mnist", "permuted-mnist")])
@pytest.mark.parametrize("build", [benchmark, tensor_stream])
def test_an_unknown_name_comes_with_the_nearest(build, name, near):
    with pytest.raises(UnknownNameError) as error:
        build(name)
    assert repr(near) in error.value.fix
    assert error.value.received == repr(name)


@pytest.mark.parametrize(("n_classes", "expected"), [(1, 1), (2, 2), (6, 3), (7, 7), (8, 4), (10, 5)])
def test_an_npz_file_is_split_as_its_classes_divide(npz_file, n_classes, expected):
    built = benchmark(npz_file(n_classes))
    assert len(built.train_stream) == expected
    assert built.tensors.n_classes == n_classes


def test_an_npz_file_may_be_split_otherwise(npz_file):
    file = npz_file(6)
    assert len(benchmark(file, n_experiences=2).train_stream) == 2
    with pytest.raises(ConfigError, match="a divisor of 6"):
        benchmark(file, n_experiences=4)


def test_an_npz_file_that_is_not_there_is_refused():
    with pytest.raises(DataError, match=r"nowhere\.npz"):
        benchmark("nowhere.npz")


def arrays_of_a_hundred_classes():
    x, y = np.zeros((200, 1, 4, 4), "uint8"), np.arange(200) % 100
    return arrays(x, y, x, y)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_entry_has_a_summary_and_makes_as_many_experiences_as_it_says(name):
    entry = BENCHMARKS[name]
    assert entry.name == name
    assert entry.summary
    stream = entry.make(arrays_of_a_hundred_classes(), entry.n_experiences, 0)
    assert len(stream.train) == entry.n_experiences
