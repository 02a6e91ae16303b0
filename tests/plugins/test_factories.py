"""Avalanche's own permuted and rotated MNIST, read as tensors."""

import warnings

import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.classic import PermutedMNIST, RotatedMNIST, cmnist
from avalanche.benchmarks.classic.cmnist import PixelsPermutation
from avalanche.benchmarks.datasets.external_datasets.mnist import TensorMNIST
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.training import Cumulative
from avalanche.training.plugins import ReplayPlugin
from torch.utils.data import TensorDataset
from torchvision import transforms as tv
from torchvision.datasets import CIFAR10, MNIST

from ckd import SelfDistillation, TensorLoader, recipes
from ckd.data.preparation import Normalise, Preparation, Scale
from ckd.data.resident_loader import ResidentLoader
from ckd.plugins import LoaderWarning
from ckd.plugins.residency import read
from ckd.plugins.transforms import NotResidentError

SCALED_AND_NORMALISED = Preparation((Scale(255.0), Normalise((0.1307,), (0.3081,))))


def mnist(kind=TensorMNIST, n=40, seed=0):
    """Random images as torchvision holds MNIST or CIFAR-10, without files."""
    g = torch.Generator().manual_seed(seed)
    dataset = kind.__new__(kind)
    dataset.transform = dataset.target_transform = dataset.transforms = None
    shape = (n, 32, 32, 3) if kind is CIFAR10 else (n, 28, 28)
    dataset.data = torch.randint(0, 256, shape, dtype=torch.uint8, generator=g)
    dataset.data = dataset.data.numpy() if kind is CIFAR10 else dataset.data
    dataset.targets = torch.arange(n) % 10
    return dataset


@pytest.fixture
def factory(monkeypatch):
    """factory(PermutedMNIST, ...) -> Avalanche's benchmark over a few random images."""
    monkeypatch.setattr(cmnist, "get_mnist_dataset", lambda root: (mnist(), mnist(n=20, seed=1)))

    def make(benchmark, n=3, **settings):
        with torch.random.fork_rng():
            return benchmark(n, **{"seed": 1, **settings})

    return make


def mlp():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 8), torch.nn.ReLU(), torch.nn.Linear(8, 10))


class Watch:
    """Notes which kinds of loader were used, and every batch."""

    def __init__(self):
        self.kinds, self.batches = set(), []

    def before_training_iteration(self, strategy, **kwargs):
        self.kinds.add(type(strategy.dataloader))
        self.batches.append([column.clone() for column in strategy.mbatch])

    before_eval_iteration = before_training_iteration


EXPERIENCE_KINDS = pytest.mark.parametrize(
    "settings",
    [{}, {"return_task_id": True}, {"train_transform": None, "eval_transform": None}],
    ids=["plain", "task labels", "no transform"],
)


@pytest.mark.parametrize(
    ("settings", "strategy", "plugins"),
    [
        ({}, None, list),
        ({"return_task_id": True}, None, lambda: [ReplayPlugin(12)]),
        ({"train_transform": None, "eval_transform": None}, Cumulative, list),
        ({"return_task_id": True}, Cumulative, list),
    ],
    ids=["naive", "replay, task labels", "cumulative, no transform", "cumulative, task labels"],
)
def test_permuted_mnist_is_served_bit_for_bit(settings, strategy, plugins, factory, naive, train, same):
    def run(*loader):
        watch = Watch()
        result = train(
            naive(mlp(), [*loader, *plugins(), watch], strategy=strategy, epochs=2),
            factory(PermutedMNIST, **settings),
            evaluate=True,
        )
        return watch, result

    (fast, one), (stock, other) = run(TensorLoader()), run()
    assert same(one, other)
    assert fast.kinds == {ResidentLoader}
    assert all(
        torch.equal(ours, theirs)
        for batches in zip(fast.batches, stock.batches, strict=True)
        for ours, theirs in zip(*batches, strict=True)
    )


@pytest.mark.parametrize("benchmark", [PermutedMNIST, RotatedMNIST])
@EXPERIENCE_KINDS
def test_every_sample_is_read_as_avalanche_serves_it(benchmark, settings, factory):
    stream = factory(benchmark, **settings)
    for dataset in [
        *(experience.dataset.train() for experience in stream.train_stream),
        *(experience.dataset.eval() for experience in stream.test_stream),
    ]:
        resident = read(dataset)
        raw, columns = resident.take(torch.arange(len(dataset)))
        assert raw.dtype == torch.uint8
        assert resident.preparation.steps == SCALED_AND_NORMALISED.steps[: 1 if "train_transform" in settings else 2]
        served = [dataset[i] for i in range(len(dataset))]
        assert torch.equal(resident.preparation(raw), torch.stack([sample[0] for sample in served]))
        assert [column.tolist() for column in columns] == [list(c) for c in list(zip(*served, strict=True))[1:]]


@pytest.mark.parametrize(
    ("benchmark", "recipe"), [(PermutedMNIST, "er"), (RotatedMNIST, "der++"), (PermutedMNIST, "self-distillation")]
)
def test_self_distillation_remembers_raw_samples_of_every_experience(benchmark, recipe, factory, naive, train):
    watch, plugin = Watch(), SelfDistillation(recipes.get(recipe).build(memory_size=30))
    stream = factory(benchmark)
    with warnings.catch_warnings():
        warnings.simplefilter("error", LoaderWarning)
        train(naive(mlp(), [plugin, watch]), stream, evaluate=True)
    assert watch.kinds == {ResidentLoader}
    rows = plugin.objective.memory.rows
    assert rows.raw.dtype == torch.uint8
    assert set(rows.experiences.tolist()) == {0, 1, 2}
    for sample, experience in zip(rows.raw, rows.experiences.tolist(), strict=True):  # as its experience shows it
        dataset = stream.train_stream[experience].dataset.train()
        input_ = SCALED_AND_NORMALISED(sample[None])[0]
        assert any(torch.equal(input_, dataset[i][0]) for i in range(len(dataset)))


# single transforms -------------------------------------------------------------------------------------------------

ORDER = torch.randperm(784, generator=torch.Generator().manual_seed(2))
COLOUR_ORDER = torch.randperm(3072, generator=torch.Generator().manual_seed(2))
TO_TENSOR, NORMALISE = tv.ToTensor(), tv.Normalize((0.3,), (0.4,))
NORMALISE_COLOURS = tv.Normalize((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def dataset_of(data, *chain):
    return as_classification_dataset(data, transform_groups={"train": (tv.Compose(chain), None), "eval": (None, None)})


@pytest.mark.parametrize(
    ("kind", "chain"),
    [
        (TensorMNIST, [NORMALISE, PixelsPermutation(ORDER)]),
        (TensorMNIST, [PixelsPermutation(ORDER), PixelsPermutation(ORDER)]),
        (TensorMNIST, [tv.RandomRotation((30, 30)), PixelsPermutation(ORDER), tv.RandomRotation((12.3, 12.3))]),
        (MNIST, [PixelsPermutation(ORDER), TO_TENSOR]),
        (MNIST, [TO_TENSOR, PixelsPermutation(ORDER), NORMALISE]),
        (MNIST, [TO_TENSOR, tv.RandomRotation((-143, -143)), NORMALISE]),
        (CIFAR10, [PixelsPermutation(COLOUR_ORDER), TO_TENSOR, NORMALISE_COLOURS]),
        (CIFAR10, [TO_TENSOR, tv.RandomRotation((30, 30)), PixelsPermutation(COLOUR_ORDER)]),
    ],
)
def test_a_fixed_change_is_made_before_what_it_can_be_exchanged_with(kind, chain):
    dataset = dataset_of(mnist(kind), *chain)
    resident = read(dataset)
    assert all(isinstance(step, Scale | Normalise) for step in resident.preparation.steps)
    raw, _ = resident.take(torch.arange(len(dataset)))
    assert torch.equal(resident.preparation(raw), torch.stack([dataset[i][0] for i in range(len(dataset))]))


@pytest.mark.parametrize(
    ("kind", "chain", "said"),
    [
        (MNIST, [tv.RandomRotation((30, 30)), TO_TENSOR], "rotates PIL images"),
        (TensorMNIST, [NORMALISE, tv.RandomRotation((30, 30))], "its Rotation follows a Normalise"),
        (TensorMNIST, [tv.RandomCrop(28, padding=2), PixelsPermutation(ORDER)], "its Permutation follows a RandomCrop"),
        (CIFAR10, [TO_TENSOR, NORMALISE_COLOURS, PixelsPermutation(COLOUR_ORDER)], "its Permutation follows"),
        (TensorMNIST, [tv.RandomRotation(30)], "RandomRotation"),
        (TensorMNIST, [tv.RandomRotation((30, 30), expand=True)], "RandomRotation"),
        (TensorMNIST, [tv.RandomRotation((30, 30), fill=1)], "RandomRotation"),
        (TensorMNIST, [tv.RandomRotation((30, 30), tv.InterpolationMode.BILINEAR)], "RandomRotation"),
    ],
)
def test_a_change_that_cannot_be_made_first_is_left_to_the_old_loader(kind, chain, said):
    with pytest.raises(NotResidentError, match=said):
        read(dataset_of(mnist(kind), *chain))


def test_only_the_experience_itself_has_to_be_readable(blobs, naive, network):
    """Avalanche's generators wrap all experiences in one data set; each takes its part of it."""
    (x, y), (x2, y2), _ = blobs()
    readable, other = TensorDataset(x, y), TensorDataset(x2, y2)
    readable.targets, other.targets = y.tolist(), y2.tolist()
    normal = as_classification_dataset(readable)
    turned = dataset_of(other, PixelsPermutation(torch.arange(6).flip(0)), PixelsPermutation(torch.arange(6)))
    both = normal.concat(turned)
    for part in (both.subset(range(len(x))), both.subset(range(len(x), len(both))), both):
        raw, (targets,) = read(part).take(torch.arange(len(part)))
        assert torch.equal(raw, torch.stack([part[i][0] for i in range(len(part))]))
        assert targets.tolist() == [part[i][1] for i in range(len(part))]
    watch = Watch()
    naive(network(), [TensorLoader(), watch]).train(benchmark_from_datasets(train=[both]).train_stream)
    assert watch.kinds == {ResidentLoader}
