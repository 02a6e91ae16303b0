"""Avalanche's own LwF beside ckd's: same stream, initial weights, batches and learning rate in every row of a seed.

    python benchmarks/stock_lwf.py --seeds 5                                       # split MNIST, an MLP
    python benchmarks/stock_lwf.py --benchmark split-cifar10 --seeds 3 --epochs 1  # a ConvNet with BatchNorm

Avalanche's plugin leaves out the factor T² of the loss, and its teacher stays in train mode: with BatchNorm it
normalises by the statistics of the new batch. Without BatchNorm its alpha of T² is therefore ckd's weight of 1.
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from avalanche.training import Naive
from avalanche.training.plugins import LwFPlugin
from rich.console import Console
from rich.table import Table

from ckd import AccuracyRecorder, SelfDistillation, TensorLoader
from ckd.bench import RunSpec, plan
from ckd.data import as_benchmark, tensor_stream
from ckd.networks import network
from ckd.recipes import lwf

T = 2.0
METHODS: dict[str, Callable[[], Any]] = {
    "no distillation": TensorLoader,
    "ckd lwf": lambda: SelfDistillation(lwf(distill_weight=1.0, temperature=T)),
    "Avalanche LwF, alpha 1": lambda: LwFPlugin(alpha=1.0, temperature=T),
    "Avalanche LwF, alpha T²": lambda: LwFPlugin(alpha=T**2, temperature=T),
}


def run(spec: RunSpec, plugin: Any, data_root: str | None) -> AccuracyRecorder:
    """Train with the plugin, evaluate after each experience."""
    stream = tensor_stream(
        spec.benchmark, seed=spec.seed, data_root=data_root, samples_per_class=spec.samples_per_class
    )
    torch.manual_seed(spec.seed)
    model = network(spec.network, stream.input_shape, stream.n_classes)
    recorder = AccuracyRecorder()
    strategy = Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=spec.lr),
        criterion=torch.nn.CrossEntropyLoss(),
        train_mb_size=spec.batch_size,
        train_epochs=spec.epochs,
        eval_mb_size=100,
        plugins=[plugin, TensorLoader()] if isinstance(plugin, LwFPlugin) else [plugin],
        evaluator=recorder,
    )
    benchmark = as_benchmark(stream)
    for experience in benchmark.train_stream:
        strategy.train(experience)
    strategy.eval(benchmark.test_stream)
    return recorder


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmark", default="split-mnist", help="(default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, metavar="K", help="seeds 0 to K-1 (default: %(default)s)")
    parser.add_argument("--epochs", type=int, metavar="E", help="passes over each experience")
    parser.add_argument("--data-root", metavar="D", help="where data sets are kept (default: ~/.cache/ckd)")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    table = Table("method", "accuracy", "task-incremental", title=chosen.benchmark)
    for name, plugin in METHODS.items():
        specs = [plan(chosen.benchmark, "naive", seed=seed, epochs=chosen.epochs) for seed in range(chosen.seeds)]
        runs = [run(spec, plugin(), chosen.data_root) for spec in specs]
        cells = []
        for matrices in ([r.matrix() for r in runs], [r.task_matrix() for r in runs]):
            accuracies = 100 * torch.tensor([m.average_accuracy() for m in matrices])
            cells.append(f"{accuracies.mean():.2f} ± {accuracies.std():.2f}")
        table.add_row(name, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
