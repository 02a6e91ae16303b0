"""What each command does with its arguments."""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckd.errors import ConfigError, UnknownNameError
from ckd.modules import is_path
from ckd.names import known_as, short_name
from ckd.seeds import parse_seeds

if TYPE_CHECKING:
    from ckd.bench import RayCluster


def demo(arguments: argparse.Namespace) -> None:
    """Compare five recipes on embedded data, and write the page."""
    from ckd.bench import plan, run_suite

    recipes = ("naive", "lwf", "er", "der++", "self-distillation")
    specs = [plan("split-digits", r, seed=s, memory_size=100) for r in recipes for s in range(3)]
    _own_process()
    run_suite(specs, arguments.out, force=arguments.force, renew=True)
    _page([arguments.out], Path(arguments.out) / "report.html", title="ckd demo: new digits, two at a time")


def run(arguments: argparse.Namespace) -> None:
    """Train recipes on a benchmark and compare them."""
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


def bench(arguments: argparse.Namespace) -> None:
    """Run a suite, or list its runs, and write the page."""
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


def report(arguments: argparse.Namespace) -> None:
    """Write a page, tables and figures of results."""
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


def tune(arguments: argparse.Namespace) -> None:
    """Choose hyper-parameters on validation data."""
    _check_names(arguments.benchmark, [arguments.recipe], arguments.network)
    from ckd.bench import Range
    from ckd.bench import tune as search

    ranges = list(map(Range.parse, arguments.search))
    if len(dict(ranges)) < len(ranges):
        raise ConfigError("--search", expected="each name once", received=arguments.search, fix="Name one range.")
    _own_process()
    search(
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


def list_all(arguments: argparse.Namespace) -> None:
    """Print benchmarks, recipes and networks."""
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
