"""What the command line takes."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ckd import __version__
from ckd.cli import actions, distil
from ckd.cli.shared import (
    add_checkpoints,
    add_deterministic,
    add_divergence,
    add_finished,
    add_jobs,
    add_stream,
    add_track,
)


class _Parser(argparse.ArgumentParser):
    """Names the option that was probably meant by a misspelt one."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            near = difflib.get_close_matches(rest[0].split("=")[0], self._option_string_actions, n=1)
            meant = f"did you mean {near[0]}?" if near else f"{self.prog} --help lists all options"
            self.exit(2, f"{self.prog}: unrecognized arguments: {' '.join(rest)}; {meant}\n")
        return found, rest


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = _Parser(prog="ckd", description="Continual learning by self-distillation, for Avalanche.")
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="compare five recipes on embedded data, in under a minute")
    demo.add_argument("--out", default="runs/demo", metavar="DIR", help="where results go (default: %(default)s)")
    demo.add_argument("--force", action="store_true", help="run again what is finished")
    demo.set_defaults(act=actions.demo)

    listing = commands.add_parser("list", help="benchmarks, recipes and networks")
    listing.set_defaults(act=actions.list_all)

    run = commands.add_parser(
        "run",
        help="train recipes on a benchmark and compare them",
        description="Train recipes on a benchmark, one run for each seed. What is finished is kept.",
        allow_abbrev=False,
    )
    run.add_argument("benchmark", metavar="BENCHMARK", help=_BENCHMARK)
    run.add_argument("--recipe", action="append", required=True, metavar="R", help=_RECIPE)
    run.add_argument("--seeds", default="1", metavar="S", help="5: 0 to 4; 3-7; or 0,2,5 (default: 1)")
    add_stream(run)
    run.add_argument("--validate", action="store_true", help="test on a tenth of the training data, held out")
    run.add_argument("--evaluate-every", type=int, default=0, metavar="K", help=_EVALUATE_EVERY)
    add_jobs(run)
    add_finished(run)
    add_checkpoints(run)
    add_divergence(run)
    add_deterministic(run)
    add_track(run)
    run.set_defaults(act=actions.run)

    report = commands.add_parser(
        "report",
        help="make a page, tables and figures of results",
        description="Read all results below the folders and write one self-contained page that compares them.",
        allow_abbrev=False,
    )
    report.add_argument("folders", nargs="+", metavar="DIR", help="where `ckd run` or `ckd bench` wrote results")
    report.add_argument("--out", default="report.html", metavar="FILE", help="the page (default: %(default)s)")
    report.add_argument("--tables", metavar="DIR", help="write tables there too, as CSV, Markdown and LaTeX")
    report.add_argument("--figures", metavar="DIR", help="write figures there too, as PNG and SVG")
    report.add_argument("--only", action="append", default=[], metavar="PATTERN", help='methods such as "der*"')
    report.add_argument("--against", metavar="R", help="the method that others are tested against (default: the best)")
    report.add_argument("--title", default="", metavar="TEXT", help="of the page (default: the suite's)")
    report.set_defaults(act=actions.report)

    bench = commands.add_parser(
        "bench",
        help="run a suite: what a file compares with what",
        description="Run what is missing of a suite and compare all of it. SUITE.py defines suite = Suite(...) of "
        "ckd.bench; benchmarks/ has examples. Started again after whatever ended it, it goes on where it stopped.",
        allow_abbrev=False,
    )
    bench.add_argument("suite", type=Path, metavar="SUITE.py", help="a file that defines suite = Suite(...)")
    bench.add_argument("--out", required=True, metavar="DIR", help="where results go")
    bench.add_argument("--seeds", metavar="S", help="5: 0 to 4; 3-7; or 0,2,5; in place of the suite's")
    bench.add_argument(
        "--memory-size", type=int, nargs="+", action="extend", metavar="N", help="in place of the suite's sizes"
    )
    bench.add_argument("--recipe", nargs="+", action="extend", metavar="R", help="in place of the suite's recipes")
    bench.add_argument(
        "--only",
        metavar="PATTERN",
        help="the runs whose benchmark/recipe-memory/seed matches, as in '*/der++-*/seed[0-4]'; --dry-run lists them",
    )
    bench.add_argument("--evaluate-every", type=int, metavar="K", help=f"{_EVALUATE_EVERY}; in place of the suite's")
    bench.add_argument("--dry-run", action="store_true", help="list what is finished and what is missing, run nothing")
    bench.add_argument("--data-root", metavar="D", help="where data sets are kept (default: ~/.cache/ckd)")
    bench.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    add_jobs(bench)
    add_finished(bench)
    add_checkpoints(bench)
    add_divergence(bench)
    add_deterministic(bench)
    add_track(bench)
    bench.set_defaults(act=actions.bench)

    distil.add(commands)

    tune = commands.add_parser(
        "tune",
        help="choose hyper-parameters on validation data",
        description="Search hyper-parameters on held-out training data, with seeds of their own. Started again it goes "
        "on where it stopped; started in several terminals it shares the work.",
        allow_abbrev=False,
    )
    tune.add_argument("benchmark", metavar="BENCHMARK", help=_BENCHMARK)
    tune.add_argument("--recipe", metavar="R", help="a name from `ckd list`, package.module:function, or FILE.py")
    tune.add_argument(
        "--teacher", metavar="T", help="of recipes that need one: a network to train, or FILE.safetensors"
    )
    text = "LOW:HIGH or A,B,C for lr or a hyper-parameter, A,B,C for recipe and teacher; once for each"
    tune.add_argument("--search", action="append", default=[], metavar="NAME=VALUES", help=text)
    tune.add_argument("--trials", type=int, default=20, metavar="N", help="in all (default: %(default)s)")
    tune.add_argument("--seeds", type=int, default=1, metavar="K", help="runs of each trial (default: %(default)s)")
    add_stream(tune)
    add_checkpoints(tune)
    add_divergence(tune)
    add_deterministic(tune)
    tune.set_defaults(act=actions.tune)
    return top


_RECIPE = "a name from `ckd list`, package.module:function, or FILE.py; once for each recipe to compare"

_EVALUATE_EVERY = "measure accuracy within experiences too, after every K training steps"

_BENCHMARK = (
    "a name from `ckd list`; package.module:function or FILE.py:function, which returns a TensorStream or Arrays of "
    "ckd.data; or FILE.npz with your own x_train, y_train, x_test and y_test: samples (N, features), "
    "(N, H, W), (N, C, H, W) or (N, H, W, C), uint8 (divided by 255) or float (taken as it is); labels 0, 1, 2, ..."
)
