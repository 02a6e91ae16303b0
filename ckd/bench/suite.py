"""Many runs: what is finished is kept, the rest is run, all of it is compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ckd.bench.result import FILE, Result, load, save, writable_error
from ckd.bench.run import run
from ckd.bench.spec import RunSpec
from ckd.evaluation import plot_forgetting


def run_suite(
    specs: Sequence[RunSpec],
    out: str | Path,
    *,
    data_root: str | Path | None = None,
    device: str = "cpu",
    force: bool = False,
    console: Console | None = None,
) -> list[Result]:
    """Run every spec that has no result under `out` yet, then print a table and write `forgetting.png`.

    Args:
        specs: the runs, of one benchmark.
        out: the output folder.
        data_root: where data sets are kept.
        device: for models and data.
        force: run again what is finished.
        console: where to print.

    Returns:
        The results in the order of the specs.
    """
    out, console = Path(out), console or Console()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise writable_error(out, error) from error
    with _progress(console) as bar:
        results = [_finished_or_run(spec, out, data_root, device, force, bar) for spec in specs]
    console.print(table(results))
    groups = by_method(results)
    plot_forgetting(
        {label: [r.matrix for r in found] for label, found in groups.items()},
        out / "forgetting.png",
        title=f"{Path(specs[0].benchmark).stem}: what is remembered (mean and standard deviation over seeds)",
    )
    console.print(f"results and forgetting.png are in {out}", highlight=False)
    return results


def _finished_or_run(
    spec: RunSpec, out: Path, data_root: str | Path | None, device: str, force: bool, bar: Progress
) -> Result:
    file = out / spec.folder / FILE
    task = bar.add_task(f"{spec.label}, seed {spec.seed}", total=1)
    if file.exists() and not force:
        bar.update(task, completed=1, description=f"{spec.label}, seed {spec.seed} (kept)")
        return load(file)
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


def table(results: Iterable[Result]) -> Table:
    """Mean and standard deviation over seeds, a row for each method."""
    shown = Table(title="mean ± standard deviation over seeds", title_style="italic")
    shown.add_column("method")
    for column in (
        "seeds",
        "average accuracy (%)",
        "forgetting (%)",
        "learning accuracy (%)",
        "seconds",
        "state (kB)",
    ):
        shown.add_column(column, justify="right")
    for label, found in by_method(results).items():
        sequential = all(r.matrix.sequential for r in found)
        seconds = [sum(r.seconds.values()) for r in found]
        kilobytes = [sum(r.memory_bytes.values()) / 1000 for r in found]
        shown.add_row(
            label,
            str(len(found)),
            _mean_sd([r.matrix.average_accuracy() for r in found]),
            _mean_sd([r.matrix.forgetting() for r in found]) if sequential else "-",
            _mean_sd([r.matrix.learning_accuracy() for r in found]) if sequential else "-",
            f"{np.mean(seconds):.1f}",
            f"{np.mean(kilobytes):.0f}",
        )
    return shown


def _mean_sd(values: list[float]) -> str:
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
