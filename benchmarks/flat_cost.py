"""Does a step cost more after many experiences? Milliseconds a step and bytes held, experience by experience.

    python benchmarks/flat_cost.py --out benchmarks/results/flat.png

Permuted digits, 100 experiences; the recipes take turns, so that a busy moment of the machine meets all of them.
"""

import argparse
import resource
import statistics
import time
from typing import Any

import matplotlib as mpl
import torch
from avalanche.training import Naive
from torch import nn

from ckd import AccuracyRecorder, SelfDistillation, recipes
from ckd.data import as_benchmark, tensor_stream
from ckd.networks import network

mpl.use("Agg")
from matplotlib import pyplot as plt

RECIPES = ("naive", "lwf", "er", "der++", "self-distillation", "cls-er")


def strategy_of(recipe: str, input_shape: tuple[int, ...]) -> Any:
    """A strategy of its own for each recipe, from the same initial weights."""
    torch.manual_seed(0)
    model = network("mlp", input_shape, 10)
    return Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=16,
        train_epochs=2,
        plugins=[SelfDistillation(recipes.get(recipe).build())],
        evaluator=AccuracyRecorder(),
    )


def main() -> None:
    """Measure, print the growth, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiences", type=int, default=100, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--out", required=True, metavar="FILE.png", help="where the curve goes")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    stream = tensor_stream("permuted-digits", n_experiences=chosen.experiences)
    benchmark = as_benchmark(stream)
    strategies = {recipe: strategy_of(recipe, stream.input_shape) for recipe in RECIPES}
    step: dict[str, list[float]] = {recipe: [] for recipe in RECIPES}
    held: dict[str, list[int]] = {recipe: [] for recipe in RECIPES}
    resident = []
    for experience in benchmark.train_stream:
        for recipe, strategy in strategies.items():
            before, start = strategy.clock.train_iterations, time.perf_counter()
            strategy.train(experience)
            step[recipe].append(1000 * (time.perf_counter() - start) / (strategy.clock.train_iterations - before))
            held[recipe].append(sum(strategy.plugins[0].engine.nbytes().values()))
        resident.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    fifth = max(1, chosen.experiences // 5)
    for recipe in RECIPES:
        first, last = statistics.median(step[recipe][1 : 1 + fifth]), statistics.median(step[recipe][-fifth:])
        print(f"{recipe:18} {first:.2f} ms a step at first, {last:.2f} at last; holds {held[recipe][-1] / 1000:.0f} kB")
    print(f"peak resident memory {resident[fifth]:.0f} MB at first, {resident[-1]:.0f} at last")
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(8, 5), layout="constrained")
    for recipe in RECIPES:
        above.plot(range(1, chosen.experiences + 1), step[recipe], label=recipe, linewidth=1)
        below.plot(range(1, chosen.experiences + 1), [size / 1000 for size in held[recipe]], linewidth=1)
    above.set(ylabel="ms a step", title=f"{chosen.experiences} experiences of permuted digits")
    below.set(xlabel="experience", ylabel="state beside the model (kB)")
    for plot in (above, below):
        plot.set_ylim(-0.02 * plot.get_ylim()[1], 1.05 * plot.get_ylim()[1])
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(chosen.out, dpi=120)


if __name__ == "__main__":
    main()
