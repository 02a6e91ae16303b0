"""What the command line takes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Literal

from ckd import __version__
from ckd.cli import actions


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="ckd", description="Continual learning by self-distillation, for Avalanche.")
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="compare five recipes on embedded data, in under a minute")
    demo.add_argument("--out", default="runs/demo", metavar="DIR", help="where results go (default: %(default)s)")
    demo.add_argument("--force", action="store_true", help="run again what is finished")
    demo.set_defaults(act=actions.demo)

    listing = commands.add_parser("list", help="benchmarks, recipes and networks")
    listing.add_argument("--markdown", action="store_true", help="the table of recipes as in the README")
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
    _add_protocol(run)
    run.add_argument("--validate", action="store_true", help="test on a tenth of the training data, held out")
    run.add_argument("--evaluate-every", type=int, default=0, metavar="K", help=_EVALUATE_EVERY)
    _add_jobs(run)
    _add_finished(run)
    _add_track(run)
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
    _add_jobs(bench)
    _add_finished(bench)
    _add_track(bench)
    bench.set_defaults(act=actions.bench)

    tune = commands.add_parser(
        "tune",
        help="choose hyper-parameters on validation data",
        description="Search hyper-parameters on held-out training data, with seeds of their own. Started again it goes "
        "on where it stopped; started in several terminals it shares the work.",
        allow_abbrev=False,
    )
    tune.add_argument("benchmark", metavar="BENCHMARK", help=_BENCHMARK)
    tune.add_argument("--recipe", required=True, metavar="R", help=_RECIPE)
    tune.add_argument(
        "--search", action="append", default=[], metavar="NAME=LOW:HIGH", help="lr or a hyper-parameter, once for each"
    )
    tune.add_argument("--trials", type=int, default=20, metavar="N", help="in all (default: %(default)s)")
    tune.add_argument("--seeds", type=int, default=1, metavar="K", help="runs of each trial (default: %(default)s)")
    _add_protocol(tune)
    tune.set_defaults(act=actions.tune)
    return top


def _add_jobs(command: argparse.ArgumentParser) -> None:
    """How many runs at a time, and where."""
    either = command.add_mutually_exclusive_group()
    text = "runs at a time, for runs of minutes: a core for each (default: 1)"
    either.add_argument("--jobs", type=int, default=1, metavar="N", help=text)
    text = "on a Ray cluster, as many at a time as it has room for (default: the one of this machine, or a new one)"
    either.add_argument("--ray", nargs="?", const="", metavar="ADDRESS", help=text)
    text = "with --ray: CPUs that a run reserves (default: 1)"
    command.add_argument("--cpus-per-run", type=float, metavar="N", help=text)
    text = "with --ray and --device cuda: GPUs that a run reserves; 0.5: two runs share one"
    command.add_argument("--gpus-per-run", type=float, metavar="N", help=text)


def _add_finished(command: argparse.ArgumentParser) -> None:
    """What becomes of runs that are finished already."""
    either = command.add_mutually_exclusive_group()
    either.add_argument("--force", action="store_true", help="run again what is finished")
    either.add_argument("--keep", action="store_true", help="use what is finished even if other code made it")


def _add_track(command: argparse.ArgumentParser) -> None:
    """What follows the runs."""
    text = "follow the runs with tensorboard, wandb or csv, in a folder beside each result; may be given again"
    command.add_argument("--track", action="append", default=[], metavar="NAME", help=text)


def _add_protocol(command: argparse.ArgumentParser) -> None:
    """How and where something is trained."""
    command.add_argument("--memory-size", type=int, default=200, metavar="N", help="samples remembered (default: 200)")
    command.add_argument("--data-root", metavar="D", help="where data sets are kept (default: ~/.cache/ckd)")
    command.add_argument("--out", metavar="DIR", help="where results go (default: runs/BENCHMARK)")
    command.add_argument("--epochs", type=int, metavar="E", help="passes over each experience")
    command.add_argument(
        "--stream",
        metavar="NAME",
        help="what your own arrays are made into: split by classes (the default), permuted or rotated",
    )
    command.add_argument("--experiences", type=int, metavar="N", help="experiences in the stream")
    command.add_argument("--batch-size", type=int, metavar="B", help="samples in a mini-batch of the stream")
    command.add_argument("--lr", type=float, metavar="L", help="learning rate of SGD")
    command.add_argument("--samples-per-class", type=_count, metavar="N", help="training samples of each class, or all")
    command.add_argument("--network", metavar="NAME", help="a network from `ckd list`")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a hyper-parameter of the recipes that have it",
    )
    command.add_argument("--protocol", metavar="NAME", help="another protocol of the benchmark: full or online")
    command.add_argument(
        "--precision", default="float32", metavar="NAME", help="float32 or bfloat16 (default: float32)"
    )
    command.add_argument("--compile", action="store_true", help="compile the network with torch.compile")
    command.add_argument(
        "--average",
        type=float,
        default=0.0,
        metavar="A",
        help="evaluate with an average of the weights, of decay A; for recipes that have none of their own",
    )
    command.add_argument(
        "--lr-end", type=float, default=1.0, metavar="S", help="lower the rate to S times its value in each experience"
    )
    command.add_argument("--passes", type=int, metavar="K", help="updates with each mini-batch, one after the other")
    command.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")


_RECIPE = "a name from `ckd list`, package.module:function, or FILE.py; once for each recipe to compare"

_EVALUATE_EVERY = "measure accuracy within experiences too, after every K training steps"

_BENCHMARK = (
    "a name from `ckd list`; package.module:function or FILE.py:function, which returns a TensorStream or Arrays of "
    "ckd.data; or FILE.npz with your own x_train, y_train, x_test and y_test: samples (N, features), "
    "(N, H, W), (N, C, H, W) or (N, H, W, C), uint8 (divided by 255) or float (taken as it is); labels 0, 1, 2, ..."
)


def _count(text: str) -> int | Literal["all"]:
    return "all" if text == "all" else int(text)
