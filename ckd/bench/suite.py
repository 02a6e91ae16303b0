"""Many runs: what is finished is kept, the rest is run, all of it is compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ckd.bench.result import FILE, Result, load, save, writable_error
from ckd.bench.run import check_device, run
from ckd.bench.spec import RunSpec
from ckd.errors import ConfigError, NonFiniteLossError
from ckd.evaluation import plot_forgetting
from ckd.recipes import get

Published = Mapping[tuple[str, int], float]
"""Published average accuracies in percent, by (recipe, memory size)."""


def run_suite(
    specs: Sequence[RunSpec],
    out: str | Path,
    *,
    data_root: str | Path | None = None,
    device: str = "cpu",
    force: bool = False,
    published: Published | None = None,
    console: Console | None = None,
) -> list[Result]:
    """Run every spec that has no result under `out` yet, then print a table and write `forgetting.png`.

    Args:
        specs: the runs, of one benchmark.
        out: the output folder.
        data_root: where data sets are kept.
        device: for models and data.
        force: run again what is finished.
        published: numbers to show beside ours.
        console: where to print.

    Returns:
        The results in the order of the specs, those that are the same run once.

    Raises:
        CkdError: no spec, an output folder that cannot be written, or what `run` raises.
    """
    if not specs:
        raise ConfigError("suite", expected="at least one run", received="none", fix="Name a recipe and a seed.")
    out, console = Path(out), console or Console()
    specs = list({spec.folder: spec for spec in specs}.values())  # without a memory, one run serves all memory sizes
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise writable_error(out, error) from error
    check_device(device)
    results, failed = [], []
    with _progress(console) as bar:
        for spec in specs:
            try:
                results.append(_finished_or_run(spec, out, data_root, device, force, bar))
            except NonFiniteLossError as error:  # the other runs may well be sound
                failed.append(f"{spec.label}, seed {spec.seed}: {error}")
                bar.console.print(f"{failed[-1]}", highlight=False, style="red")
    if not results:
        raise DivergedError(failed)
    console.width = max(console.width, 100)  # a narrow terminal wraps the table; numbers are not cut off
    console.print(table(results, published))
    groups = by_method(results)
    plot_forgetting(
        {label: [r.matrix for r in found] for label, found in groups.items()},
        out / "forgetting.png",
        title=_title(specs),
    )
    console.print(f"results and forgetting.png are in {out}", highlight=False)
    if failed:
        raise DivergedError(failed)
    return results


def _title(specs: Sequence[RunSpec]) -> str:
    seeds = len({spec.seed for spec in specs})
    over = f" (mean ± standard deviation over {seeds} seeds)" if seeds > 1 else " (one seed)"
    return f"{Path(specs[0].benchmark).stem}: what is remembered{over}"


class DivergedError(NonFiniteLossError):
    """Some runs of a suite diverged; the others are finished and kept."""

    def __init__(self, failed: list[str]) -> None:
        what = "; ".join(failed)
        super().__init__("suite", expected="finite losses in every run", received=what, fix="Lower --lr for these.")


def _finished_or_run(
    spec: RunSpec, out: Path, data_root: str | Path | None, device: str, force: bool, bar: Progress
) -> Result:
    file = out / spec.folder / FILE
    task = bar.add_task(f"{spec.label}, seed {spec.seed}", total=1)
    if file.exists() and not force:
        kept = load(file)
        n = len(kept.matrix.values)
        bar.update(task, completed=n, total=n, description=f"{spec.label}, seed {spec.seed} (kept)")
        return kept
    result = run(
        spec,
        data_root=data_root,
        device=device,
        progress=lambda done, total: bar.update(task, completed=done, total=total),
    )
    save(result, out)
    return result


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


def table(results: Iterable[Result], published: Published | None = None) -> Table:
    """Mean and standard deviation over seeds, a row for each method; `published` adds a column."""
    results = list(results)
    seeds = len({r.spec.seed for r in results})
    shown = Table(
        title=f"percent, mean ± standard deviation over {seeds} seed{'s' * (seeds > 1)}",
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
    )
    shown.add_column("method", no_wrap=True)
    for column in ("memory", "accuracy", "task known", "forgetting", "s", "kB", *(["published"] if published else [])):
        shown.add_column(column, justify="right", no_wrap=True)
    for label, found in by_method(results).items():
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
        known = (published or {}).get((found[0].spec.recipe, size))
        shown.add_row(*row, *(["-" if known is None else f"{known:.2f}"] if published else []))
    return shown


def _mean_sd(values: list[float]) -> str:
    if not values:
        return "-"
    percent = 100 * np.array(values)
    sd = f" ± {percent.std(ddof=1):.2f}" if len(values) > 1 else ""
    return f"{percent.mean():.2f}{sd}"


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("experiences"),
        TimeElapsedColumn(),
        console=console,
    )
