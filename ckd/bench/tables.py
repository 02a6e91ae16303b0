"""Results as tables in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from ckd.bench.result import Result
from ckd.bench.spec import RunSpec
from ckd.errors import ConfigError
from ckd.evaluation.paired import MOST_PAIRS, paired_test
from ckd.names import short_name
from ckd.recipes import get

Published = Mapping[tuple[str, int], float]
"""Published average accuracies in percent, by (recipe, memory size)."""


def canonical(published: Published | None, against: str | None) -> tuple[Published, str | None]:
    """The same with the recipes named as results name them.

    Raises:
        UnknownNameError: no such recipe.
        ConfigError: `against` is a reference, such as joint.
    """
    if against is not None and get(against).strategy != "Naive":
        expected, received = "one that is no reference", f"{against}, which sees all data"
        raise ConfigError("recipe to test against", expected=expected, received=received, fix="Name another.")
    named = {(get(recipe).name, size): percent for (recipe, size), percent in (published or {}).items()}
    return named, None if against is None else get(against).name


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


def table(
    results: Iterable[Result],
    published: Published | None = None,
    against: str | None = None,
    diverged: Iterable[RunSpec] = (),
) -> Table:
    """Mean and standard deviation over the seeds of one benchmark, a row for each method and each run that diverged.

    Its column "s" is the wall time of training and evaluation, "kB" what is kept beside the model.

    `published` adds a column, and so does `against`: the p-value of `paired_test` against that recipe with as large a
    memory, for methods that have the same seeds; a method without memory is tested against the only one there is. Of
    more than 20 seeds the first 20 are tested.

    Raises:
        UnknownNameError: no such recipe in `published` or `against`.
    """
    published, against = canonical(published, against)
    results = list(results)
    seeds = len({r.spec.seed for r in results})
    first = f" over the first {MOST_PAIRS} seeds" if seeds > MOST_PAIRS else ""
    benchmark = short_name(results[0].spec.benchmark)
    shown = Table(
        title=f"{benchmark}: percent, {over_seeds(seeds)}"
        + (f"; p: against {against}{first}, uncorrected" if against else ""),
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
    )
    shown.add_column("method", no_wrap=True)
    more = [*(["published"] if published else []), *(["p"] if against else [])]
    for column in ("memory", "accuracy", "task-incremental", "forgetting", "s", "kB", *more):
        shown.add_column(column, justify="right", no_wrap=True)
    methods = by_method(results)
    for label, found in methods.items():
        size = found[0].spec.memory_size
        rehearses = get(found[0].spec.recipe).strategy == "Naive"
        row = [
            label.replace(f", memory {size}", ""),
            str(size or "-"),
            mean_sd([r.matrix.average_accuracy() for r in found]),
            mean_sd([r.task_matrix.average_accuracy() for r in found]),
            mean_sd([r.matrix.forgetting() for r in found if r.matrix.sequential]),
            f"{np.mean([sum(r.seconds.values()) for r in found]):.1f}",
            f"{np.mean([sum(r.memory_bytes.values()) / 1000 for r in found]):.0f}" if rehearses else "all data",
        ]
        if published:
            known = published.get((found[0].spec.recipe, size))
            row.append("-" if known is None else f"{known:.2f}")
        if against:
            rivals = [g for g in methods.values() if g[0].spec.recipe == against]
            alike = [g for g in rivals if g[0].spec.memory_size == size] or (rivals if not size else [])
            row.append(_p_value(found, alike[0] if len(alike) == 1 else []))
        shown.add_row(*row)
    for spec in diverged:
        label = spec.label.replace(f", memory {spec.memory_size}", "")
        shown.add_row(f"{label}, seed {spec.seed}", str(spec.memory_size or "-"), "diverged", style="red")
    return shown


def _p_value(found: list[Result], rival: list[Result]) -> str:
    ours, theirs = ({r.spec.seed: r.matrix.average_accuracy() for r in group} for group in (found, rival))
    if found is rival or ours.keys() != theirs.keys() or len(ours) < 2:
        return "-"
    seeds = sorted(ours)[:MOST_PAIRS]
    return f"{paired_test([ours[s] for s in seeds], [theirs[s] for s in seeds]):.3f}"


def over_seeds(n: int) -> str:
    """What `mean_sd` shows of so many seeds."""
    return f"mean ± standard deviation over {n} seeds" if n > 1 else "one seed"


def mean_sd(values: Sequence[float]) -> str:
    """Shares as percent, mean ± standard deviation; a dash for none."""
    if not values:
        return "-"
    percent = 100 * np.array(values)
    sd = f" ± {percent.std(ddof=1):.2f}" if len(values) > 1 else ""
    return f"{percent.mean():.2f}{sd}"


def print_whole(console: Console, table: Table) -> None:
    """Print a table as wide as it is: a terminal that is narrower wraps its lines, and no number is cut off."""
    needed = console.measure(table, options=console.options.update(max_width=1000)).maximum
    console.width = max(console.width, needed)
    console.print(table)
