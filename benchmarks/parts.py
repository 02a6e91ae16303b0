"""What the scripts on the parts of a recipe share: the runs with parts left out, and the lines that they print."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.console import Console

from ckd.bench import load, plan, run_suite
from ckd.bench.result import FILE
from ckd.errors import NonFiniteLossError

FLAGS = {"force": "run again what is finished", "keep": "use what is finished even if other code made it"}


def compare_parts(benchmark: str, recipe: str, parts: Mapping[str, dict[str, Any]], chosen: argparse.Namespace) -> None:
    """Run what is not finished yet, the recipe with each of these settings at every seed, and print a line for each."""
    specs = {
        part: [plan(benchmark, recipe, seed=seed, settings=settings) for seed in chosen.seeds]
        for part, settings in parts.items()
    }
    every = [spec for group in specs.values() for spec in group]
    try:
        run_suite(
            every,
            chosen.out,
            data_root=chosen.data_root,
            jobs=chosen.jobs,
            force=chosen.force,
            keep=chosen.keep,
            console=Console(quiet=True),
        )
    except NonFiniteLossError as error:  # a part alone may not bear the learning rate of the whole
        print(error)
    for part, group in specs.items():
        files = [file for spec in group if (file := Path(chosen.out) / spec.folder / FILE).exists()]
        runs = [load(file) for file in files]
        accuracy = [100 * run.matrix.average_accuracy() for run in runs] or [float("nan")]
        spread = f" ± {stdev(accuracy):.2f}" if len(accuracy) > 1 else ""
        print(f"{part:42} {mean(accuracy):.2f}{spread}  {len(runs)} of {len(group)} seeds")
