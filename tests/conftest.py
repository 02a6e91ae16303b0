"""Small streams and models that the tests share."""

import gc
import os
import re
import signal
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from ckd.errors import CkdError
from ckd.recipes import RECIPES

torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # of processes that tests start

collect_ignore_glob = ["conftest.py", "*/conftest.py"]  # they hold no docstring examples

FEATURES, CLASSES = 6, 6


@pytest.fixture(autouse=True, scope="module")
def frozen() -> None:
    """Leave what is imported by now out of later collections of garbage: a quarter of a second for every run."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def interrupts() -> None:
    """Ctrl-C is heard, which tests send: a shell lets what it starts in the background ignore it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    """What a test registers is gone after it."""
    before = dict(RECIPES)
    yield
    RECIPES.clear()
    RECIPES.update(before)


@pytest.fixture(autouse=True)
def whole_errors(monkeypatch) -> None:
    """Every error that a test meets names its subject, and says in a sentence what to do."""
    told = CkdError.__init__

    def checked(self: CkdError, what: str, *, expected: object, received: object, fix: str) -> None:
        told(self, what, expected=expected, received=received, fix=fix)
        assert isinstance(what, str)
        assert all([what, str(expected), expected is not None]), self
        assert re.fullmatch(r"[^a-z\s].*[a-z].*([.?!]|: pip install .*)", fix, re.DOTALL), self

    monkeypatch.setattr(CkdError, "__init__", checked)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """The same random numbers for each test, whatever ran before it."""
    seed = torch.manual_seed if torch.cuda.is_available() else torch.default_generator.manual_seed  # 600 times as fast
    with torch.random.fork_rng(devices=[]):
        seed(0)
        yield


def samples(n_per_class: int, classes: list[int], seed: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Gaussian blobs, one for each class, shuffled."""
    g = torch.Generator().manual_seed(seed)
    y = torch.tensor(classes).repeat_interleave(n_per_class)
    x = 2.0 * torch.eye(CLASSES, FEATURES, dtype=dtype)[y]
    x = x + torch.randn(len(y), FEATURES, generator=g, dtype=torch.float64).to(dtype)
    order = torch.randperm(len(y), generator=g)
    return x[order], y[order]


@pytest.fixture
def blobs() -> Callable:
    """blobs(...) -> list of (x, y) for training, one for each experience."""

    def make(n_experiences=3, per_experience=2, n_per_class=20, dtype=torch.float32, same_classes=False):
        def classes(i):
            return list(range(CLASSES)) if same_classes else [i * per_experience + k for k in range(per_experience)]

        return [samples(n_per_class, classes(i), i, dtype) for i in range(n_experiences)]

    return make


@pytest.fixture
def benchmark_of() -> Callable:
    """benchmark_of(experiences, task_labels) -> an Avalanche benchmark over TensorDatasets."""

    def make(experiences, task_labels="zero"):
        from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline, with_task_labels
        from avalanche.benchmarks.utils import DataAttribute, TaskAwareSupervisedClassificationDataset
        from avalanche.benchmarks.utils.classification_dataset import ClassificationDataset
        from avalanche.benchmarks.utils.data_attribute import TaskLabels
        from avalanche.benchmarks.utils.flat_data import ConstantSequence

        def dataset(i, x, y):
            targets = DataAttribute(y.tolist(), "targets")
            if task_labels == "none":
                return ClassificationDataset([TensorDataset(x, y)], data_attributes=[targets])
            tasks = TaskLabels(ConstantSequence(i if task_labels == "index" else 0, len(y)))
            return TaskAwareSupervisedClassificationDataset([TensorDataset(x, y)], data_attributes=[targets, tasks])

        data = [dataset(i, x, y) for i, (x, y) in enumerate(experiences)]
        benchmark = benchmark_from_datasets(train=data, test=data)
        if task_labels != "none":
            benchmark = with_task_labels(benchmark)
        benchmark = with_classes_timeline(benchmark)
        for stream in (benchmark.train_stream, benchmark.test_stream):
            for experience in stream:  # Avalanche's masked multi-head classifier cannot index with a set
                experience.classes_in_this_experience = sorted(experience.classes_in_this_experience)
        return benchmark

    return make


def mlp(dtype: torch.dtype = torch.float32, seed: int = 0, width: int = CLASSES, batchnorm: bool = False) -> nn.Module:
    """A small network, the same for the same seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        norm = [nn.BatchNorm1d(16), nn.Dropout(0.2)] if batchnorm else []
        return nn.Sequential(nn.Linear(FEATURES, 16), *norm, nn.ReLU(), nn.Linear(16, width)).to(dtype)


@pytest.fixture
def network() -> Callable:
    return mlp


@pytest.fixture
def naive() -> Callable:
    """naive(model, plugins, ...) -> an Avalanche Naive strategy with plain SGD and a quiet evaluator."""

    def make(model, plugins=(), *, lr=0.1, batch=8, epochs=1, evaluator=None, strategy=None, **settings):
        from avalanche.training import Naive

        from ckd import AccuracyRecorder

        return (strategy or Naive)(
            model=model,
            optimizer=torch.optim.SGD(model.parameters(), lr=lr),
            criterion=nn.CrossEntropyLoss(),
            train_mb_size=batch,
            train_epochs=epochs,
            eval_mb_size=16,
            plugins=list(plugins),
            evaluator=evaluator or AccuracyRecorder(),
            **settings,
        )

    return make


@pytest.fixture
def train() -> Callable:
    """train(strategy, benchmark, seed) trains on the stream; returns the parameters and the next random number."""

    def run(strategy, benchmark, seed=0, evaluate=False):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for experience in benchmark.train_stream:
                strategy.train(experience)
                if evaluate:
                    strategy.eval(benchmark.test_stream)
            after = torch.rand(1).item()
        state = {name: value.clone() for name, value in strategy.model.state_dict().items()}
        return state, after

    return run


def identical(one, other) -> bool:
    """Whether two results of `train` are equal bit for bit."""
    return one[1] == other[1] and all(torch.equal(one[0][name], other[0][name]) for name in one[0])


@pytest.fixture
def same() -> Callable:
    return identical
