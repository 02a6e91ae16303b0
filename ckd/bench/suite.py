"""Many runs: what is finished is kept, the rest is run, all of it is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from ckd.bench.cluster import RayCluster, on_cluster
from ckd.bench.finished import by_other_code, check_code, finished
from ckd.bench.jobs import one_by_one, side_by_side
from ckd.bench.progress import SuiteProgress
from ckd.bench.result import Result, save, save_diverged, writable_error
from ckd.bench.spec import RunSpec
from ckd.bench.tracking import Tracking
from ckd.bench.training import check_device, run
from ckd.data.registry import find
from ckd.errors import ConfigError, NonFiniteLossError
from ckd.evaluation import paired_test, plot_forgetting
from ckd.names import short_name
from ckd.recipes import get

Published = Mapping[tuple[str, int], float]
"""Published average accuracies in percent, by (recipe, memory size)."""


def run_suite(
    specs: Sequence[RunSpec],
    out: str | Path,
    *,
    data_root: str | Path | None = None,
    device: str = "cpu",
    jobs: int = 1,
    cluster: RayCluster | None = None,
    force: bool = False,
    keep: bool = False,
    renew: bool = False,
    track: Sequence[str] = (),
    published: Published | None = None,
    against: str | None = None,
    console: Console | None = None,
) -> list[Result]:
    """Run every spec that has no result under `out` yet, then compare: a table and a plot of forgetting by benchmark.

    The plot is `forgetting.png`; with several benchmarks there is a `forgetting-BENCHMARK.png` for each.

    Args:
        specs: the runs, of one benchmark or several.
        out: the output folder.
        data_root: where data sets are kept.
        device: for models and data.
        jobs: runs at a time; if more than one, each is in a process with one thread.
        cluster: where the runs are done in place of this machine, as many at a time as it has room for.
        force: run again what is finished.
        keep: use what is finished even if other code made it.
        renew: run again what other code made.
        track: trackers that follow the runs, "tensorboard", "wandb" or "csv", each in a folder beside the result.
        published: numbers to show beside ours, of one benchmark.
        against: a recipe that the others are tested against, seed by seed.
        console: where to print.

    Returns:
        The results in the order of the specs, those that are the same run once, without their predictions.

    Raises:
        CkdError: no spec, no job, an output folder that cannot be written, results of other code, or what `run` raises.
    """
    if not specs:
        raise ConfigError("suite", expected="at least one run", received="none", fix="Name a recipe and a seed.")
    if jobs < 1:
        raise ConfigError("jobs", expected="1 or more", received=jobs, fix="Use the number of cores, or less.")
    if cluster is not None and jobs > 1:
        fix = "The cluster does as many runs at a time as it has room for."
        raise ConfigError("jobs", expected="none on a cluster", received=jobs, fix=fix)
    out, console = Path(out), console or Console()
    specs = unique(specs)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise writable_error(out, error) from error
    if cluster is None:
        check_device(device)
    else:
        cluster.check_device(device)
    if track and cluster is not None:
        fix = "Leave one out; the results come back from the cluster all the same."
        raise ConfigError("trackers", expected="runs on this machine", received="runs on a cluster", fix=fix)
    tracking = Tracking(tuple(track), out.resolve())
    found = {} if force else finished(specs, out)
    if renew:
        found = {i: result for i, result in found.items() if not by_other_code(result)}
    if not keep:
        check_code(found.values(), out)
    diverged: dict[int, str] = {}
    todo = {
        i: partial(run, s, data_root=data_root, device=device, tracking=tracking)
        for i, s in enumerate(specs)
        if i not in found
    }
    jobs = max(1, min(jobs, len(todo)))
    with SuiteProgress(specs, found, jobs, console) as shown:

        def finish(i: int, result: Callable[[], Result]) -> None:
            try:
                found[i] = result()
            except NonFiniteLossError as error:  # the other runs may well be sound
                diverged[i] = f"{shown.name(i)}: {error}"
                save_diverged(specs[i], str(error), out)
                shown.fail(i, error)
            else:
                save(found[i], out)
                found[i] = replace(found[i], predictions=None)  # 35 MB a run of permuted MNIST; they are in their file
                shown.finish(i, found[i])

        if jobs > 1 or cluster is not None:
            for name in {spec.benchmark for spec in specs}:
                find(name).source(data_root)  # what must be downloaded is downloaded once, not by every process
        if cluster is not None and todo:
            on_cluster(todo, cluster, shown.report, finish)
        elif jobs > 1:
            side_by_side(todo, jobs, shown.report, finish)
        else:
            one_by_one(todo, shown.report, finish)
    results, failed = [found[i] for i in sorted(found)], [diverged[i] for i in sorted(diverged)]
    if not results:
        raise DivergedError.of(failed)
    _compare(results, out, console, published, against)
    if failed:
        raise DivergedError.of(failed)
    return results


def list_runs(specs: Iterable[RunSpec], out: str | Path, *, console: Console | None = None) -> None:
    """Print which runs are finished under `out`, which of them by other code, and which are missing; run nothing.

    Raises:
        DataError: a file that is not a result.
    """
    specs, out, console = unique(specs), Path(out), console or Console()
    found = finished(specs, out)
    states = ["missing" if i not in found else _STATES[by_other_code(found[i])] for i in range(len(specs))]
    for spec, state in zip(specs, states, strict=True):
        console.print(f"{state:10}  {spec.name}", highlight=False, markup=False, soft_wrap=True)
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    console.print(f"{len(specs)} runs: {counts}", highlight=False)


_STATES = {False: "finished", True: "other code"}


def unique(specs: Iterable[RunSpec]) -> list[RunSpec]:
    """Each run once: without a memory, one run serves all memory sizes."""
    return list({spec.folder: spec for spec in specs}.values())


def _compare(
    results: list[Result], out: Path, console: Console, published: Published | None, against: str | None
) -> None:
    """A table and a plot for each benchmark."""
    console.width = max(console.width, 100)  # a narrow terminal wraps the table; numbers are not cut off
    benchmarks: dict[str, list[Result]] = {}
    for result in results:
        benchmarks.setdefault(short_name(result.spec.benchmark), []).append(result)
    plots = [f"forgetting-{name}.png" if len(benchmarks) > 1 else "forgetting.png" for name in benchmarks]
    for (name, found), plot in zip(benchmarks.items(), plots, strict=True):
        console.print(table(found, published, against))
        curves = {label: [r.matrix for r in group] for label, group in by_method(found).items()}
        seeds = len({r.spec.seed for r in found})
        over = f" (mean ± standard deviation over {seeds} seeds)" if seeds > 1 else " (one seed)"
        plot_forgetting(curves, out / plot, title=f"{name}: what is remembered{over}")
    console.print(f"results and {', '.join(plots)} are in {out}", highlight=False)


class DivergedError(NonFiniteLossError):
    """Some runs of a suite diverged; the others are finished and kept."""

    @classmethod
    def of(cls, failed: list[str]) -> DivergedError:
        """The error for the runs that are named in `failed`."""
        what = "; ".join(failed)
        return cls("suite", expected="finite losses in every run", received=what, fix="Lower --lr for these.")


def by_method(results: Iterable[Result]) -> dict[str, list[Result]]:
    """The seeds of each method, by its label; settings beyond the label are told apart by a number."""
    folders: dict[Path, list[Result]] = {}
    for result in results:
        folders.setdefault(result.spec.folder.parent, []).append(result)
    named: dict[str, list[Result]] = {}
    for found in folders.values():
        label = found[0].spec.label
        twins = sum(name.split(" (")[0] == label for name in named)
        named[f"{label} ({twins + 1})" if twins else label] = found
    return named


def table(results: Iterable[Result], published: Published | None = None, against: str | None = None) -> Table:
    """Mean and standard deviation over the seeds of one benchmark, a row for each method.

    Its column "s" is the wall time of training and evaluation, "kB" what is kept beside the model.

    `published` adds a column, and so does `against`: the p-value of `paired_test` against that recipe with as large a
    memory, for methods that have the same seeds.
    """
    results = list(results)
    seeds = len({r.spec.seed for r in results})
    benchmark = short_name(results[0].spec.benchmark)
    shown = Table(
        title=f"{benchmark}: percent, mean ± standard deviation over {seeds} seed{'s' * (seeds > 1)}",
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
    )
    shown.add_column("method", no_wrap=True)
    more = [*(["published"] if published else []), *([f"p ({against}), uncorrected"] if against else [])]
    for column in ("memory", "accuracy", "task-incremental", "forgetting", "s", "kB", *more):
        shown.add_column(column, justify="right", no_wrap=True)
    methods = by_method(results)
    for label, found in methods.items():
        size = found[0].spec.memory_size
        rehearses = get(found[0].spec.recipe).strategy == "Naive"
        row = [
            label.replace(f", memory {size}", ""),
            str(size or "-"),
            _mean_sd([r.matrix.average_accuracy() for r in found]),
            _mean_sd([r.task_matrix.average_accuracy() for r in found]),
            _mean_sd([r.matrix.forgetting() for r in found if r.matrix.sequential]),
            f"{np.mean([sum(r.seconds.values()) for r in found]):.1f}",
            f"{np.mean([sum(r.memory_bytes.values()) / 1000 for r in found]):.0f}" if rehearses else "all data",
        ]
        if published:
            known = published.get((found[0].spec.recipe, size))
            row.append("-" if known is None else f"{known:.2f}")
        if against:
            rivals = [g for g in methods.values() if g[0].spec.recipe == against and g[0].spec.memory_size == size]
            row.append(_p_value(found, rivals[0] if rivals else []))
        shown.add_row(*row)
    return shown


def _p_value(found: list[Result], rival: list[Result]) -> str:
    ours, theirs = ({r.spec.seed: r.matrix.average_accuracy() for r in group} for group in (found, rival))
    if found is rival or ours.keys() != theirs.keys() or len(ours) < 2:
        return "-"
    return f"{paired_test(list(ours.values()), [theirs[seed] for seed in ours]):.3f}"


def _mean_sd(values: list[float]) -> str:
    if not values:
        return "-"
    percent = 100 * np.array(values)
    sd = f" ± {percent.std(ddof=1):.2f}" if len(values) > 1 else ""
    return f"{percent.mean():.2f}{sd}"
