"""What each command does with its arguments."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ckd.cli.shared import check_names, own_process, running_of, setting, settings_of, stream_of
from ckd.errors import ConfigError
from ckd.names import short_name
from ckd.seeds import parse_seeds


def demo(arguments: argparse.Namespace) -> None:
    """Compare five recipes on embedded data, and write the page."""
    from ckd.bench import plan, run_suite

    recipes = ("naive", "lwf", "er", "der++", "self-distillation")
    specs = [plan("split-digits", r, seed=s, memory_size=100) for r in recipes for s in range(3)]
    own_process()
    run_suite(specs, arguments.out, force=arguments.force, renew=True, checkpoint_every=None)
    _page([arguments.out], Path(arguments.out) / "report.html", title="ckd demo: new digits, two at a time")


def run(arguments: argparse.Namespace) -> None:
    """Train recipes on a benchmark and compare them."""
    seeds = parse_seeds(arguments.seeds)
    check_names(arguments.benchmark, arguments.recipe, arguments.network)
    from ckd.bench import plan, run_suite
    from ckd.recipes import get

    recipes = list(dict.fromkeys(get(r).name for r in arguments.recipe))
    mine = settings_of(arguments.set, recipes)
    specs = [
        plan(
            arguments.benchmark,
            recipe,
            seed=seed,
            settings=mine[recipe],
            validate=arguments.validate,
            evaluate_every=arguments.evaluate_every,
            **stream_of(arguments),
        )
        for recipe in recipes
        for seed in seeds
    ]
    own_process()
    out = arguments.out or Path("runs") / short_name(arguments.benchmark)
    run_suite(
        specs,
        out,
        **running_of(arguments),
    )


def bench(arguments: argparse.Namespace) -> None:
    """Run a suite, or list its runs, and write the page."""
    from ckd.bench import run_suite
    from ckd.bench.diverged import DivergedError
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
    own_process()
    failed: DivergedError | None = None
    try:
        run_suite(
            specs,
            arguments.out,
            **running_of(arguments),
            published=suite.published,
            against=suite.against,
        )
    except DivergedError as error:
        if arguments.on_divergence == "stop":
            raise
        failed = error
    if suite.source:
        print(f"published: {suite.source}")
    save_suite(suite, Path(arguments.out))
    _page([arguments.out], Path(arguments.out) / "report.html")
    if failed is not None:
        raise failed


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
    texts = dict(text.partition("=")[::2] for text in arguments.search)
    recipes, teachers = (texts[name].split(",") if name in texts else [] for name in ("recipe", "teacher"))
    recipe = arguments.recipe or next(iter(recipes), None)
    if recipe is None:
        fix = "Add --recipe er, or --search recipe=er,der."
        raise ConfigError("recipe", expected="a name", received="none", fix=fix)
    if arguments.recipe and recipes:
        fix = "Leave --recipe out."
        raise ConfigError("recipe", expected="one to use, or several to search", received="both", fix=fix)
    check_names(arguments.benchmark, recipes or [recipe], arguments.network, arguments.teacher, *teachers)
    from ckd.bench import parse_search
    from ckd.bench import tune as search

    space = dict(map(parse_search, arguments.search))
    if len(space) < len(arguments.search):
        raise ConfigError("--search", expected="each name once", received=arguments.search, fix="Name one range.")
    own_process()
    search(
        arguments.benchmark,
        recipe,
        space,
        arguments.out or Path("runs") / "tune" / f"{short_name(arguments.benchmark)}-{'-'.join(recipes) or recipe}",
        teacher=arguments.teacher,
        trials=arguments.trials,
        seeds=arguments.seeds,
        fixed=dict(map(setting, arguments.set)),
        data_root=arguments.data_root,
        device=arguments.device,
        checkpoint_every=arguments.checkpoint_every,
        on_divergence=arguments.on_divergence,
        deterministic=arguments.deterministic,
        **stream_of(arguments),
    )


def list_all(_: argparse.Namespace) -> None:
    """Print benchmarks, recipes and networks."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from ckd import catalogue

    benchmarks = Table("benchmark", "what it is", "experiences", box=box.SIMPLE_HEAD)
    for b in catalogue.benchmarks():
        benchmarks.add_row(b.name, b.summary, str(b.n_experiences or "its own"))
    benchmarks.add_row("FILE.npz", "your own x_train, y_train, x_test, y_test, split by classes", "5 if it divides")
    recipes = Table("recipe", "what it does", "hyper-parameters", box=box.SIMPLE_HEAD)
    taught = Table("with a teacher", "what it does", "hyper-parameters", box=box.SIMPLE_HEAD)
    for r in catalogue.recipes():
        own = {k: v for k, v in r.defaults.items() if k not in ("memory_size", "seed", "steps")}
        table = taught if r.teacher else recipes
        table.add_row(r.name, r.summary, "\n".join(f"{k}={v!r}" if v == "" else f"{k}={v}" for k, v in own.items()))
    for shown in (benchmarks, recipes, taught):
        shown.columns[0].no_wrap = shown.columns[2].no_wrap = True
    console = Console()
    console.print(benchmarks, recipes, taught)
    console.print(f"networks: {', '.join(catalogue.networks())}")
