"""What the suites share: their command line, and the comparison that they print."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ckd.bench import plan, run_suite
from ckd.bench.allocator import keep_freed_memory
from ckd.seeds import parse_seeds


def options(description: str | None, *, choices: bool = True, **flags: str) -> argparse.Namespace:
    """Seeds and folders, with `choices` what is compared, and `flags` by name with their help; one thread a run."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, text in flags.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    parser.add_argument("--data-root", metavar="D", help="where data sets are kept (default: ~/.cache/ckd)")
    parser.add_argument("--out", required=True, metavar="DIR", help="where results go")
    parser.add_argument("--seeds", default="3", metavar="S", help="5: 0 to 4; 3-7; or 0,2,5 (default: %(default)s)")
    if choices:
        parser.add_argument("--memory-size", type=int, nargs="+", default=[200], metavar="N", help="(default: 200)")
        parser.add_argument("--recipe", nargs="+", metavar="R", help="some of the recipes (default: all of the suite)")
        parser.add_argument("--average", type=float, default=0.0, metavar="A", help="predict by an average of decay A")
        parser.add_argument(
            "--lr-end", type=float, default=1.0, metavar="S", help="lower the rate to S times its value"
        )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (default: %(default)s)")
    torch.set_num_threads(1)
    keep_freed_memory()
    chosen = parser.parse_args()
    chosen.seeds = parse_seeds(chosen.seeds)
    return chosen


def compare(
    benchmark: str,
    recipes: Sequence[str],
    chosen: argparse.Namespace,
    published: Mapping[tuple[str, int], float] | None,
    **protocol: Any,
) -> None:
    """Run what is not finished yet, every recipe at every memory size and seed, and print the table."""
    specs = [
        plan(
            benchmark,
            recipe,
            seed=seed,
            memory_size=size,
            average=chosen.average,
            lr_end=chosen.lr_end,
            **protocol,
        )
        for recipe in chosen.recipe or recipes
        for size in chosen.memory_size
        for seed in chosen.seeds
    ]
    run_suite(
        specs,
        chosen.out,
        data_root=chosen.data_root,
        device=chosen.device,
        jobs=chosen.jobs,
        published=published,
        against="der++",
    )
