"""The `ckd` command."""

from __future__ import annotations

import argparse
import ast
import atexit
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ckd import __version__
from ckd.errors import CkdError, ConfigError, UnknownNameError
from ckd.modules import is_path
from ckd.names import known_as, short_name
from ckd.seeds import parse_seeds

if TYPE_CHECKING:
    from ckd.bench import RayCluster


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, or 2 for an error that ckd explains."""
    arguments = parser().parse_args(argv)
    try:
        arguments.act(arguments)
    except CkdError as error:
        print(f"ckd: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ckd: interrupted; finished runs are kept", file=sys.stderr)
        return 130
    return 0


def script() -> int:
    """`main` for a process of its own, which then ends at once.

    Python would take the modules of PyTorch and Avalanche apart first: 3 seconds, or 9 on a busy machine.
    """
    status: list[int] = []
    atexit.register(_end, status)  # registered before all others, so that it runs after them
    status.append(main())
    return status[0]


def _end(status: list[int]) -> None:
    """End the process, unless an error is on its way out."""
    if status:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status[0])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="ckd", description="Continual learning by self-distillation, for Avalanche.")
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="compare five recipes on embedded data, in under a minute")
    demo.add_argument("--out", default="runs/demo", metavar="DIR", help="where results go (default: %(default)s)")
    _add_finished(demo)
    demo.set_defaults(act=_demo)

    listing = commands.add_parser("list", help="benchmarks, recipes and networks")
    listing.add_argument("--markdown", action="store_true", help="the table of recipes as in the README")
    listing.set_defaults(act=_list)

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
    run.set_defaults(act=_run)

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
    report.set_defaults(act=_report)

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
    bench.set_defaults(act=_bench)

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
    tune.set_defaults(act=_tune)
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


def _demo(arguments: argparse.Namespace) -> None:
    from ckd.bench import plan, run_suite

    recipes = ("naive", "lwf", "er", "der++", "self-distillation")
    specs = [plan("split-digits", r, seed=s, memory_size=100) for r in recipes for s in range(3)]
    _own_process()
    run_suite(specs, arguments.out, force=arguments.force, keep=arguments.keep)
    _page([arguments.out], Path(arguments.out) / "report.html", title="ckd demo: new digits, two at a time")


def _run(arguments: argparse.Namespace) -> None:
    seeds = parse_seeds(arguments.seeds)
    _check_names(arguments.benchmark, arguments.recipe, arguments.network)
    from ckd.bench import plan, run_suite
    from ckd.recipes import get

    settings = dict(map(_setting, arguments.set))
    recipes = list(dict.fromkeys(get(r).name for r in arguments.recipe))
    mine = {r: {k: v for k, v in settings.items() if k in get(r).defaults} for r in recipes}
    known = {k for r in recipes for k in get(r).defaults if k not in ("memory_size", "seed")}
    for name in settings.keys() & {"memory_size", "seed"}:
        option = "--memory-size" if name == "memory_size" else "--seeds"
        raise ConfigError("--set", expected="a hyper-parameter", received=name, fix=f"Use {option}.")
    for name in settings.keys() - known:
        raise UnknownNameError.of(f"hyper-parameter of {', '.join(recipes)}", name, known)
    specs = [
        plan(
            arguments.benchmark,
            recipe,
            seed=seed,
            settings=mine[recipe],
            validate=arguments.validate,
            evaluate_every=arguments.evaluate_every,
            **_protocol(arguments),
        )
        for recipe in recipes
        for seed in seeds
    ]
    _own_process()
    out = arguments.out or Path("runs") / short_name(arguments.benchmark)
    run_suite(
        specs,
        out,
        data_root=arguments.data_root,
        device=arguments.device,
        jobs=arguments.jobs,
        cluster=_cluster(arguments),
        force=arguments.force,
        keep=arguments.keep,
        track=arguments.track,
    )


def _bench(arguments: argparse.Namespace) -> None:
    from ckd.bench import run_suite
    from ckd.bench.suite import list_runs
    from ckd.bench.suite_file import load_suite, save_suite

    suite = load_suite(arguments.suite)
    specs = suite.specs(
        recipes=arguments.recipe,
        memory_sizes=arguments.memory_size,
        seeds=None if arguments.seeds is None else parse_seeds(arguments.seeds),
        evaluate_every=arguments.evaluate_every,
        only=arguments.only,
    )
    print(suite.title)
    if arguments.dry_run:
        list_runs(specs, arguments.out)
        return
    _own_process()
    run_suite(
        specs,
        arguments.out,
        data_root=arguments.data_root,
        device=arguments.device,
        jobs=arguments.jobs,
        cluster=_cluster(arguments),
        force=arguments.force,
        keep=arguments.keep,
        track=arguments.track,
        published=suite.published,
        against=suite.against,
    )
    if suite.source:
        print(f"published: {suite.source}")
    save_suite(suite, Path(arguments.out))
    _page([arguments.out], Path(arguments.out) / "report.html")


def _report(arguments: argparse.Namespace) -> None:
    given = {name: getattr(arguments, name) for name in ("tables", "figures", "only", "against", "title")}
    _page(arguments.folders, arguments.out, **given)


def _page(folders: list[str], out: str | Path, **given: Any) -> None:
    """Write a report, and say what was written and what was left out."""
    from ckd.report import write_report

    results = write_report(folders, out, **given)
    for left in results.left_out:
        print(f"left out: {left.file}: {left.reason}", file=sys.stderr)
    for note in results.notes:
        print(f"note: {note}", file=sys.stderr)
    written = [out, *(given.get(name) for name in ("tables", "figures"))]
    print(f"{len(results.found)} runs in {', '.join(str(path) for path in written if path)}")


def _tune(arguments: argparse.Namespace) -> None:
    _check_names(arguments.benchmark, [arguments.recipe], arguments.network)
    from ckd.bench import Range, tune

    ranges = list(map(Range.parse, arguments.search))
    if len(dict(ranges)) < len(ranges):
        raise ConfigError("--search", expected="each name once", received=arguments.search, fix="Name one range.")
    _own_process()
    tune(
        arguments.benchmark,
        arguments.recipe,
        dict(ranges),
        arguments.out or Path("runs") / "tune" / f"{short_name(arguments.benchmark)}-{arguments.recipe}",
        trials=arguments.trials,
        seeds=arguments.seeds,
        fixed=dict(map(_setting, arguments.set)),
        data_root=arguments.data_root,
        device=arguments.device,
        **_protocol(arguments),
    )


def _cluster(arguments: argparse.Namespace) -> RayCluster | None:
    """Where the runs are done, as `_add_jobs` added it; None for here."""
    reserved = {"cpus": arguments.cpus_per_run, "gpus": arguments.gpus_per_run}
    reserved = {name: share for name, share in reserved.items() if share is not None}
    if arguments.ray is None:
        if reserved:
            received = ", ".join(f"--{name}-per-run" for name in reserved)
            raise ConfigError("a run's share", expected="--ray", received=received, fix="Add --ray, or leave it out.")
        return None
    from ckd.bench import RayCluster

    return RayCluster(arguments.ray or None, **reserved)


def _check_names(benchmark: str, recipes: Sequence[str], network: str | None) -> None:
    """Refuse names that are misspelt, before what takes seconds is imported; files and modules are looked at later."""
    from ckd import catalogue

    named_by_path = benchmark.endswith(".npz") or is_path(benchmark)
    if not named_by_path and benchmark not in (names := [b.name for b in catalogue.benchmarks()]):
        raise UnknownNameError.of("benchmark", benchmark, [*names, "FILE.npz"])
    names = [r.name for r in catalogue.recipes()]
    for recipe in recipes:
        if not is_path(recipe) and known_as(recipe, names) is None:
            raise UnknownNameError.of("recipe", recipe, names)
    if network is not None and network not in (names := catalogue.networks()):
        raise UnknownNameError.of("network", network, names)


def _protocol(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `_add_protocol` added, as arguments of `plan`."""
    return {
        "memory_size": arguments.memory_size,
        "n_experiences": arguments.experiences,
        "epochs": arguments.epochs,
        "batch_size": arguments.batch_size,
        "lr": arguments.lr,
        "network": arguments.network,
        "samples_per_class": arguments.samples_per_class,
        "variant": arguments.protocol,
        "precision": arguments.precision,
        "compiled": arguments.compile,
        "average": arguments.average,
        "lr_end": arguments.lr_end,
        "passes": arguments.passes,
        "stream": arguments.stream,
    }


def _list(arguments: argparse.Namespace) -> None:
    if arguments.markdown:
        from ckd import catalogue

        print(catalogue.markdown())
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from ckd import catalogue

    benchmarks = Table("benchmark", "what it is", "experiences", box=box.SIMPLE_HEAD)
    for b in catalogue.benchmarks():
        benchmarks.add_row(b.name, b.summary, str(b.n_experiences or "its own"))
    benchmarks.add_row("FILE.npz", "your own x_train, y_train, x_test, y_test, split by classes", "5 if it divides")
    recipes = Table("recipe", "what it does", "hyper-parameters", box=box.SIMPLE_HEAD)
    for r in catalogue.recipes():
        own = {k: v for k, v in r.defaults.items() if k not in ("memory_size", "seed")}
        recipes.add_row(r.name, r.summary, "\n".join(f"{k}={v}" for k, v in own.items()))
    for shown in (benchmarks, recipes):
        shown.columns[0].no_wrap = shown.columns[2].no_wrap = True
    console = Console()
    console.print(benchmarks, recipes)
    console.print(f"networks: {', '.join(catalogue.networks())}")


def _count(text: str) -> int | Literal["all"]:
    return "all" if text == "all" else int(text)


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    try:
        if equals:
            return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        pass
    raise ConfigError("--set", expected="NAME=NUMBER", received=repr(text), fix="For example --set alpha=0.3.")


def _own_process() -> None:
    """One thread, as the networks are small and more only wait for each other; and freed memory is kept."""
    import torch

    from ckd.bench.allocator import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()


if __name__ == "__main__":
    sys.exit(script())
