"""The plugin serves from tensors what the stock loader would have served."""

import warnings

import pytest
import torch
from avalanche.benchmarks import class_incremental_benchmark
from avalanche.training import Cumulative
from avalanche.training.plugins import ReplayPlugin
from torch.utils.data import DataLoader, RandomSampler, TensorDataset, WeightedRandomSampler
from torchvision import transforms
from torchvision.datasets import CIFAR10, MNIST

from ckd import SelfDistillation, TensorLoader, recipes
from ckd.data import benchmark
from ckd.data.resident_loader import ResidentLoader
from ckd.errors import ConfigError, LoaderConflictError
from ckd.plugins import LoaderWarning
from ckd.plugins.loader import convert
from ckd.plugins.residency import read
from ckd.plugins.transforms import NotResidentError


class Watch:
    """Notes which kinds of loader were used, and every batch that was trained on."""

    def __init__(self):
        self.kinds, self.batches = set(), []

    def before_training_iteration(self, strategy, **kwargs):
        self.kinds.add(type(strategy.dataloader))
        self.batches.append([column.clone() for column in strategy.mbatch])

    def before_eval_iteration(self, strategy, **kwargs):
        self.kinds.add(type(strategy.dataloader))


def digits_mlp(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10))


@pytest.mark.parametrize("task_labels", ["zero", "index", "none"])
@pytest.mark.parametrize("evaluate", [False, True])
def test_a_stock_run_stays_bit_identical(task_labels, evaluate, blobs, benchmark_of, network, naive, train, same):
    watch = Watch()
    stream = benchmark_of(blobs(), task_labels)
    fast = train(naive(network(), [TensorLoader(), watch], epochs=2), stream, evaluate=evaluate)
    stock = train(naive(network(), epochs=2), stream, evaluate=evaluate)
    assert same(fast, stock)
    assert watch.kinds == {ResidentLoader}


@pytest.mark.parametrize("name", ["split-digits", "permuted-digits"])
@pytest.mark.parametrize("strategy", [None, Cumulative])
def test_ckds_own_benchmarks_serve_the_same_with_and_without(name, strategy, naive, train, same):
    def run(*plugins):
        stream = benchmark(name, n_experiences=2, samples_per_class=20)
        return train(naive(digits_mlp(), plugins, batch=64, strategy=strategy), stream, evaluate=True)

    watch = Watch()
    assert same(run(TensorLoader(), watch), run())
    assert watch.kinds == {ResidentLoader}


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("settings", [{}, {"batch_size_mem": 3}, {"task_balanced_dataloader": True}])
def test_a_replay_plugin_is_converted_whatever_the_order(
    order, settings, blobs, benchmark_of, network, naive, train, same
):
    watch = Watch()
    stream = benchmark_of(blobs(), "index")
    fast = naive(network(), [*[TensorLoader(), ReplayPlugin(mem_size=10, **settings)][::order], watch], epochs=2)
    stock = naive(network(), [ReplayPlugin(mem_size=10, **settings)], epochs=2)
    assert same(train(fast, stream), train(stock, stream))
    assert watch.kinds == {ResidentLoader}


def test_drop_last_is_kept(blobs, benchmark_of, network, naive):
    watch = Watch()
    naive(network(), [TensorLoader(), watch], batch=7).train(benchmark_of(blobs()).train_stream, drop_last=True)
    assert {len(batch[1]) for batch in watch.batches} == {7}


def test_a_benchmark_without_task_labels_gives_two_columns(network, naive):
    x, y = torch.randn(40, 6), torch.arange(40) % 4
    dataset = TensorDataset(x, y)
    dataset.targets = y.tolist()
    from avalanche.benchmarks.utils import as_classification_dataset

    data = as_classification_dataset(dataset)
    stream = class_incremental_benchmark({"train": data, "test": data}, num_experiences=2)
    watch = Watch()
    naive(network(), [SelfDistillation(recipes.lwf()), watch]).train(stream.train_stream)
    assert watch.kinds == {ResidentLoader}
    assert {len(batch) for batch in watch.batches} == {2}


def images(kind, transform, n=24):
    """A torchvision data set that holds random images and needs no files."""
    g = torch.Generator().manual_seed(0)
    dataset = kind.__new__(kind)
    dataset.transform, dataset.target_transform, dataset.transforms = transform, None, None
    if kind is MNIST:
        dataset.data = torch.randint(0, 256, (n, 28, 28), dtype=torch.uint8, generator=g)
        dataset.targets = torch.arange(n) % 4
    else:
        dataset.data = torch.randint(0, 256, (n, 32, 32, 3), dtype=torch.uint8, generator=g).numpy()
        dataset.targets = [i % 4 for i in range(n)]
    return dataset


@pytest.mark.parametrize("kind", [MNIST, CIFAR10])
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("relabel", [True, False])
def test_torchvision_images_are_read_bit_for_bit(kind, own, relabel, naive, train, same):
    from avalanche.benchmarks.scenarios.deprecated.generators import nc_benchmark

    channels, pixels = (1, 784) if kind is MNIST else (3, 3072)
    chain = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.3,) * channels, (0.4,) * channels)])

    def run(*plugins):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(pixels, 4))
        data = images(kind, chain if own else None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            stream = nc_benchmark(
                data,
                data,
                n_experiences=2,
                task_labels=relabel,
                class_ids_from_zero_in_each_exp=relabel,
                seed=1,
                **({} if own else dict.fromkeys(["train_transform", "eval_transform"], chain)),
            )
        return train(naive(model, plugins), stream, evaluate=True)

    watch = Watch()
    assert same(run(TensorLoader(), watch), run())
    assert watch.kinds == {ResidentLoader}


def test_crop_and_flip_are_batched_and_leave_the_global_generator_alone(naive):
    from avalanche.benchmarks import benchmark_from_datasets
    from avalanche.benchmarks.utils import as_classification_dataset

    chain = transforms.Compose(
        [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    )
    data = as_classification_dataset(
        images(CIFAR10, None), transform_groups={"train": (chain, None), "eval": (chain, None)}
    )
    watch = Watch()
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 4))
    strategy = naive(model, [TensorLoader(seed=1), watch], epochs=2, batch=24)
    torch.manual_seed(0)
    strategy.train(benchmark_from_datasets(train=[data]).train_stream)
    after = torch.rand(1)
    torch.manual_seed(0)
    for _ in range(4):  # two epochs of two draws
        torch.empty((), dtype=torch.int64).random_()
    assert torch.equal(after, torch.rand(1))
    assert watch.kinds == {ResidentLoader}
    first, second = (batch[0].flatten(1).sum(1).sort().values for batch in watch.batches)
    assert not torch.equal(first, second)  # drawn anew in each epoch


class Odd(torch.utils.data.Dataset):
    """A data set that cannot be read as tensors."""

    def __init__(self, x, y):
        self.x, self.targets = x, y.tolist()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.targets[i]


def odd_stream(blobs, wrap=Odd):
    from avalanche.benchmarks import benchmark_from_datasets
    from avalanche.benchmarks.utils import as_classification_dataset

    data = [as_classification_dataset(wrap(x, y)) for x, y in blobs()]
    return benchmark_from_datasets(train=data, test=data)


def test_what_cannot_be_read_is_left_alone_with_one_warning(blobs, network, naive, train, same):
    with pytest.warns(LoaderWarning, match="holds a Odd") as warned:
        left = train(naive(network(), [TensorLoader()], epochs=2), odd_stream(blobs), evaluate=True)
    assert len([w for w in warned if issubclass(w.category, LoaderWarning)]) == 1
    assert same(left, train(naive(network(), epochs=2), odd_stream(blobs), evaluate=True))


def test_several_passes_over_what_cannot_be_read_are_refused(blobs, network, naive, train):
    with pytest.raises(ConfigError, match="holds a Odd"):
        train(naive(network(), [TensorLoader(passes=3)]), odd_stream(blobs))
    with pytest.raises(ConfigError, match="1 or more"):
        TensorLoader(passes=0)


@pytest.mark.parametrize("last", [False, True])
def test_several_passes_are_for_training_alone(last, blobs, benchmark_of, network, naive):
    """Also where SelfDistillation, which brings a loader of its own, comes first."""
    counts = {"train": [], "eval": []}

    class Count:
        def before_forward(self, strategy, **kwargs):
            counts["train"].append(strategy.mb_y.tolist())

        def before_eval_forward(self, strategy, **kwargs):
            counts["eval"].append(strategy.mb_y.tolist())

    stream = benchmark_of(blobs())
    strategy = naive(
        network(), [*([SelfDistillation(memory_size=10)] if last else []), TensorLoader(passes=2), Count()]
    )
    strategy.train(stream.train_stream[0])
    strategy.eval(stream.test_stream[0])
    assert counts["train"][0::2] == counts["train"][1::2]
    samples = len(stream.train_stream[0].dataset)
    assert sum(map(len, counts["train"])) == 2 * samples
    assert sum(map(len, counts["eval"])) == len(stream.test_stream[0].dataset)


def test_an_unknown_transform_is_named(blobs, network, naive):
    from avalanche.benchmarks import benchmark_from_datasets
    from avalanche.benchmarks.utils import as_classification_dataset

    def blur(x):
        return x * 0.5

    x, y = blobs()[0]
    dataset = TensorDataset(x, y)
    dataset.targets = y.tolist()
    groups = {"train": (blur, None), "eval": (None, None)}
    data = as_classification_dataset(dataset, transform_groups=groups)
    with pytest.warns(LoaderWarning, match="blur"):
        naive(network(), [TensorLoader()]).train(benchmark_from_datasets(train=[data]).train_stream)


def test_a_data_set_that_does_not_serve_its_tensors_as_they_are_is_caught(blobs, network, naive):
    class Doubled(TensorDataset):
        def __init__(self, x, y):
            super().__init__(x, y)
            self.targets = y.tolist()

        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return 2 * x, y

    with pytest.warns(LoaderWarning, match="differ from"):
        naive(network(), [TensorLoader()]).train(odd_stream(blobs, Doubled).train_stream)


def columns(x, y, *more):
    """A TensorDataset with targets, as Avalanche wants it."""
    dataset = TensorDataset(x, y, *more)
    dataset.targets = y.tolist()
    return dataset


def unlike(kind, x, y):
    """A data set of two halves, of which the second is not like the first."""
    from avalanche.benchmarks.utils import as_classification_dataset

    first, second = columns(x[::2], y[::2]), columns(x[1::2], y[1::2])
    groups = None
    if kind == "dtypes":
        second = columns(x[1::2].double(), y[1::2])
    elif kind == "transforms":
        scale = transforms.Normalize([0.0], [2.0])
        groups = {"train": (scale, None), "eval": (scale, None)}
    elif kind == "columns":
        first, second = (columns(*half.tensors, torch.zeros(len(half))) for half in (first, second))
    return as_classification_dataset(first).concat(as_classification_dataset(second, transform_groups=groups))


@pytest.mark.parametrize(
    ("kind", "said"),
    [("dtypes", "samples of different kinds"), ("transforms", "different transforms"), ("columns", "3 tensors")],
)
def test_data_whose_parts_are_unlike_is_left_to_the_stock_loader(kind, said):
    x, y = torch.rand(8, 1, 2, 2), torch.arange(8) % 2
    with pytest.raises(NotResidentError, match=said):
        read(unlike(kind, x, y))


def test_an_empty_data_set_is_left_to_the_stock_loader():
    from avalanche.benchmarks.utils import as_classification_dataset

    with pytest.raises(NotResidentError, match="is empty"):
        read(as_classification_dataset(columns(torch.rand(0, 3), torch.zeros(0, dtype=torch.int64))))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda data: DataLoader(data, sampler=WeightedRandomSampler([1.0] * 8, 8)), "a WeightedRandomSampler"),
        (lambda data: DataLoader(data, sampler=RandomSampler(data, replacement=True)), "a RandomSampler"),
        (lambda data: DataLoader(data, batch_size=None), "a SequentialSampler"),
        (lambda data: iter([data]), "a list_iterator is not known"),
    ],
)
def test_a_loader_that_draws_in_its_own_way_is_left_alone(made, said):
    from avalanche.benchmarks.utils import as_classification_dataset

    data = as_classification_dataset(columns(torch.rand(8, 3), torch.arange(8) % 2))
    with pytest.raises(NotResidentError, match=said):
        convert(made(data), torch.device("cpu"), torch.Generator())


def test_an_unreadable_stream_is_remembered_as_it_arrives_with_one_warning(blobs, network, naive):
    plugin = SelfDistillation(recipes.er(memory_size=10))
    with pytest.warns(LoaderWarning) as warned:
        naive(network(), [plugin], epochs=2).train(odd_stream(blobs).train_stream)
    assert sum("one fixed" in str(w.message) for w in warned) == 1
    assert len(plugin.objective.memory) == 10


def test_a_memory_that_began_with_served_samples_goes_on_with_them(blobs, benchmark_of, network, naive):
    plugin = SelfDistillation(recipes.er(memory_size=10))
    strategy = naive(network(), [plugin])
    with pytest.warns(LoaderWarning):
        strategy.train(odd_stream(blobs).train_stream[0])
    strategy.train(benchmark_of(blobs()).train_stream[1])
    assert set(plugin.objective.memory.rows.experiences.tolist()) == {0, 1}


@pytest.mark.parametrize(
    "plugins",
    [
        lambda: [ReplayPlugin(10), ReplayPlugin(10), TensorLoader()],
        lambda: [TensorLoader(), TensorLoader()],
        lambda: [SelfDistillation(), SelfDistillation()],
        lambda: [SelfDistillation(), ReplayPlugin(10), ReplayPlugin(10)],
    ],
)
def test_two_plugins_that_want_the_loader_are_refused(plugins, blobs, benchmark_of, network, naive):
    strategy = naive(network(), plugins())
    with pytest.raises(LoaderConflictError, match=r"expected one .* received \w+ and \w+"):
        strategy.train(benchmark_of(blobs()).train_stream)


def test_self_distillation_beside_a_tensor_loader_or_a_replay_plugin_is_fine(blobs, benchmark_of, network, naive):
    plugins = [ReplayPlugin(10), SelfDistillation(memory_size=10), TensorLoader()]
    naive(network(), plugins).train(benchmark_of(blobs()).train_stream)


def test_evaluating_another_experience_in_the_middle_of_an_epoch_does_not_disturb_it(naive, train):
    """Permuted experiences share one buffer, also of the training stream."""

    class Interrupt:
        def __init__(self, tensors):
            self.tensors = tensors

        def after_training_iteration(self, strategy, **kwargs):
            self.tensors.train[0].raw()

    def run(interrupt):
        stream = benchmark("permuted-digits", n_experiences=2)
        plugins = [TensorLoader(), *([Interrupt(stream.tensors)] if interrupt else [])]
        return train(naive(digits_mlp(), plugins, batch=256), stream)

    one, other = run(True), run(False)
    assert all(torch.equal(one[0][name], other[0][name]) for name in one[0])
