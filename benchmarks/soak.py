"""A long stream: what a process holds and what an experience costs, after 20 experiences and after 200.

    python benchmarks/soak.py [--experiences N] [--recipe R ...]

Each experience brings two new classes of Gaussian blobs, for which an IncrementalClassifier grows; it is trained with
each recipe in a process of its own, and evaluated on all classes so far at every 20th. What is counted at the ends of
experiences: resident memory, open files, hooks on the modules and parameters of student and teachers, and all objects
that Python's garbage collector knows, so that whatever is added at each experience and never let go shows.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from avalanche.models import IncrementalClassifier
from avalanche.training import Naive
from torch import Tensor, nn

from ckd import AccuracyRecorder, SelfDistillation, recipes
from ckd.data import arrays, as_benchmark, split

RECIPES = ("naive", "ballast", "der++", "lwf", "tether", "mean-er")
FEATURES, PER_CLASS, EVERY = 32, 20, 20


@dataclass(frozen=True)
class State:
    """What a process holds after an experience, and the CPU time that one took, the median of the last 20."""

    megabytes: float
    files: int
    hooks: int
    objects: int
    kilobytes_of_method: float
    milliseconds: float


def blobs(n_classes: int) -> Any:
    """Train and test samples of each class around a point of its own."""
    draw = torch.Generator().manual_seed(0)
    centres = 2 * torch.randn(n_classes, FEATURES, generator=draw)

    def samples(n: int) -> tuple[Tensor, Tensor]:
        labels = torch.arange(n_classes).repeat_interleave(n)
        return centres[labels] + torch.randn(len(labels), FEATURES, generator=draw), labels

    (x, y), (x_test, y_test) = samples(PER_CLASS), samples(4)
    return arrays(x, y, x_test, y_test)


def hooks_of(*networks: nn.Module) -> int:
    """Hooks on their modules and parameters."""
    parts = [part for network in networks for part in (*network.modules(), *network.parameters())]
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")
    return sum(len(getattr(part, kind, None) or ()) for part in parts for kind in kinds)


def soak(recipe: str, experiences: int) -> list[State]:
    """Train through the stream; what the process holds after every 20th experience."""
    torch.set_num_threads(1)
    gc.freeze()  # what was imported is not counted, nor looked through each time
    torch.manual_seed(0)
    benchmark = as_benchmark(split(blobs(2 * experiences), experiences))
    model = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), IncrementalClassifier(64, 2))
    plugin = SelfDistillation(recipes.get(recipe).build())
    strategy = Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.03),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=8,
        eval_mb_size=200,
        plugins=[plugin],
        evaluator=AccuracyRecorder(),
    )
    process, states, seconds = psutil.Process(), [], list[float]()
    for i, experience in enumerate(benchmark.train_stream):
        begun = time.process_time()
        strategy.train(experience)
        seconds.append(time.process_time() - begun)
        if (i + 1) % EVERY:
            continue
        strategy.eval(benchmark.test_stream[: i + 1])
        gc.collect()
        teachers = [t.model.module for t in plugin.objective.teachers.values() if t.ready]
        states.append(
            State(
                process.memory_info().rss / 1e6,
                process.num_fds(),
                hooks_of(model, *teachers),
                len(gc.get_objects()),
                sum(plugin.engine.nbytes().values()) / 1e3,
                1e3 * statistics.median(seconds[-EVERY:]),
            )
        )
    return states


def main() -> None:
    """Run each recipe, and print what was held after 20 experiences and at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiences", type=int, default=200, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--recipe", action="append", metavar="R", help=f"(default: {', '.join(RECIPES)})")
    chosen = parser.parse_args()
    print("| recipe | MB | open files | hooks | objects | kB of the method | ms of CPU an experience |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for recipe in chosen.recipe or RECIPES:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            states = pool.submit(soak, recipe, chosen.experiences).result()
        names = ("megabytes", "files", "hooks", "objects", "kilobytes_of_method", "milliseconds")
        cells = [f"{getattr(states[0], name):,.0f} → {getattr(states[-1], name):,.0f}" for name in names]
        print(f"| {recipe} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
