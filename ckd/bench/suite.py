"""Many runs: what is finished is kept, the rest is run, all of it is compared."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from rich.console import Console

from ckd.bench.cluster import RayCluster, on_cluster
from ckd.bench.diverged import Diverged, DivergedError, OnDivergence, check_on_divergence
from ckd.bench.finished import by_other_code, check_code, finished
from ckd.bench.jobs import one_by_one, side_by_side
from ckd.bench.progress import SuiteProgress
from ckd.bench.result import Result, check_writable, save, save_diverged
from ckd.bench.saving import Saving
from ckd.bench.spec import RunSpec
from ckd.bench.tables import Published, by_method, canonical, print_whole, table
from ckd.bench.teachers import file_of, read_network
from ckd.bench.tracking import Tracking
from ckd.bench.training import check_device, run
from ckd.data.registry import find
from ckd.errors import ConfigError, NonFiniteLossError
from ckd.evaluation import plot_forgetting
from ckd.names import short_name
from ckd.signals import handling, raise_interrupted


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
    checkpoint_every: int | None = 0,
    on_divergence: OnDivergence = "skip",
    deterministic: bool = False,
    published: Published | None = None,
    against: str | None = None,
    console: Console | None = None,
) -> list[Result]:
    """Run every spec that has no result under `out` yet, then compare: a table and a plot of forgetting by benchmark.

    The plot is `forgetting.png`; with several benchmarks there is a `forgetting-BENCHMARK.png` for each. Arguments are
    those of `run_all` and of `compare`; runs that diverged are rows of the table without numbers.

    Returns:
        The results in the order of the specs, those that are the same run once, without their predictions.

    Raises:
        CkdError: what `run_all` raises.
        DivergedError: some runs diverged; the others are finished and compared, or stopped if that was asked for.
    """
    out, console = Path(out), console or Console()
    published, against = canonical(published, against)  # refuses a misspelt name before anything is run
    given: dict[str, Any] = {"data_root": data_root, "device": device, "jobs": jobs, "cluster": cluster}
    given |= {"checkpoint_every": checkpoint_every, "on_divergence": on_divergence, "deterministic": deterministic}
    results, failed = run_all(specs, out, force=force, keep=keep, renew=renew, track=track, console=console, **given)
    compare(results, out, console, published, against, [run.spec for run in failed])
    if failed:
        raise DivergedError.of(failed)
    return results


def run_all(
    specs: Sequence[RunSpec],
    out: Path,
    *,
    data_root: str | Path | None = None,
    device: str = "cpu",
    jobs: int = 1,
    cluster: RayCluster | None = None,
    force: bool = False,
    keep: bool = False,
    renew: bool = False,
    track: Sequence[str] = (),
    checkpoint_every: int | None = 0,
    on_divergence: OnDivergence = "skip",
    deterministic: bool = False,
    keep_networks: bool = False,
    called: Callable[[RunSpec], str] = attrgetter("label"),
    console: Console,
) -> tuple[list[Result], list[Diverged]]:
    """Run every spec that has no result under `out` yet, and before it the runs that train its teachers.

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
        checkpoint_every: steps from one checkpoint within an experience to the next, 0 for one after each experience
            alone; None for no checkpoints. A run that was ended goes on from its last one; none are written on a
            cluster.
        on_divergence: whether the others are run to their end after one that diverged, "skip", or stopped at once,
            "stop". A run diverges when a loss or a weight is NaN or infinite; no checkpoint is written of that state.
        deterministic: whether results are the same bit for bit whatever the threads and the jobs; see `run`.
        keep_networks: whether the trained networks are kept beside the results, as those of teachers are.
        called: how a run's method is called in the lines of progress.
        console: where to print.

    Returns:
        The results in the order of the specs, those that are the same run once, without their predictions; and the
        runs that diverged.

    Raises:
        CkdError: no spec, no job, an output folder that cannot be written, results of other code, or what `run` raises.
        DivergedError: all runs diverged, or one that trains a teacher did, or any where they are to stop.
    """
    if not specs:
        raise ConfigError("suite", expected="at least one run", received="none", fix="Name a recipe and a seed.")
    if jobs < 1:
        raise ConfigError("jobs", expected="1 or more", received=jobs, fix="Use the number of cores, or less.")
    check_on_divergence(on_divergence)
    if cluster is not None and jobs > 1:
        fix = "The cluster does as many runs at a time as it has room for."
        raise ConfigError("jobs", expected="none on a cluster", received=jobs, fix=fix)
    specs = unique(specs)
    check_writable(out, out)
    if cluster is None:
        check_device(device)
    else:
        cluster.check_device(device)
    if track and cluster is not None:
        fix = "Leave one out; the results come back from the cluster all the same."
        raise ConfigError("trackers", expected="runs on this machine", received="runs on a cluster", fix=fix)
    tracking = Tracking(tuple(track), out.resolve())
    teachers = teachers_of(specs)
    if teachers:
        given: dict[str, Any] = {"data_root": data_root, "device": device, "jobs": jobs, "cluster": cluster}
        given |= {"force": force, "keep": keep, "renew": renew, "track": track, "checkpoint_every": checkpoint_every}
        given |= {"on_divergence": on_divergence, "deterministic": deterministic, "called": called}
        _, failed = run_all(teachers, out, keep_networks=True, console=console, **given)
        if failed:
            raise DivergedError.of(failed)
    just_run = {teacher.folder for teacher in teachers}
    kept = [i for i, spec in enumerate(specs) if not force or spec.folder in just_run]
    there = finished([specs[i] for i in kept], out, with_networks=keep_networks)
    found = {kept[k]: result for k, result in there.items()}
    if renew:
        found = {i: result for i, result in found.items() if not by_other_code(result)}
    if not keep:
        check_code(found.values(), out)
    saving = None if checkpoint_every is None or cluster else Saving(out.resolve(), checkpoint_every, any_code=keep)
    if saving is not None:
        for i, spec in enumerate(specs):
            if i in found or force or renew:
                saving.remove(spec)
    diverged: dict[int, Diverged] = {}
    missing = {i: spec for i, spec in enumerate(specs) if i not in found}
    for spec in missing.values():
        check_writable(out, out / spec.folder)  # before anything is trained whose result would be lost
    contents = {file: read_network(file) for spec in missing.values() for file in _teachers(spec, out)}
    todo = {
        i: partial(
            run,
            s,
            data_root=data_root,
            device=device,
            tracking=tracking,
            teachers=[contents[file] for file in _teachers(s, out)],
            keep_network=keep_networks,
            saving=saving,
            deterministic=deterministic,
        )
        for i, s in missing.items()
    }
    jobs = max(1, min(jobs, len(todo)))
    handled = handling(raise_interrupted, signal.SIGINT, signal.SIGTERM)
    with handled, SuiteProgress(specs, found, jobs, console, called) as shown:

        def finish(i: int, result: Callable[[], Result]) -> None:
            try:
                found[i] = result()
            except NonFiniteLossError as error:  # the other runs may well be sound
                diverged[i] = Diverged(specs[i], f"{shown.name(i)}: {error}")
                save_diverged(specs[i], str(error), out)
                shown.fail(i, error)
                if on_divergence == "stop":
                    raise DivergedError.of([diverged[i]]) from error
            else:
                save(found[i], out)
                if saving is not None:
                    saving.remove(specs[i])
                found[i] = replace(found[i], predictions=None, network=None)  # 35 MB a run; they are in their files
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
    return results, failed


def teachers_of(specs: Iterable[RunSpec]) -> list[RunSpec]:
    """The runs that train their teachers."""
    return unique(teacher for spec in specs for teacher in spec.teachers if isinstance(teacher, RunSpec))


def _teachers(spec: RunSpec, out: Path) -> list[Path]:
    """The files of the networks that teach it."""
    return [file_of(trained, out) for trained in spec.teachers]


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


def compare(
    results: list[Result],
    out: Path,
    console: Console,
    published: Published | None,
    against: str | None,
    diverged: Sequence[RunSpec] = (),
) -> None:
    """Print a table, and write a plot, for each benchmark.

    Args:
        results: of one benchmark or several.
        out: the output folder.
        console: where to print.
        published: numbers to show beside ours, of one benchmark.
        against: a recipe that the others are tested against, seed by seed.
        diverged: runs without a result.
    """
    benchmarks: dict[str, list[Result]] = {}
    for result in results:
        benchmarks.setdefault(short_name(result.spec.benchmark), []).append(result)
    plots = [f"forgetting-{name}.png" if len(benchmarks) > 1 else "forgetting.png" for name in benchmarks]
    for (name, found), plot in zip(benchmarks.items(), plots, strict=True):
        lost = [spec for spec in diverged if short_name(spec.benchmark) == name]
        print_whole(console, table(found, published, against, lost))
        curves = {label: [r.matrix for r in group] for label, group in by_method(found).items()}
        seeds = len({r.spec.seed for r in found})
        over = f" (mean ± standard deviation over {seeds} seeds)" if seeds > 1 else " (one seed)"
        try:
            plot_forgetting(curves, out / plot, title=f"{name}: what is remembered{over}")
        except OSError as error:
            console.print(f"{plot} cannot be written: {error}", style="red", highlight=False, markup=False)
    console.print(f"results and {', '.join(plots)} are in {out}", highlight=False)
