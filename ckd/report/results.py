"""Results of many folders, read together: what fits, what was left alone and why, as data frames."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ckd.bench.result import DIVERGED, FILE, PREDICTIONS, UNREADABLE, Result, load
from ckd.errors import CkdError, DataError
from ckd.evaluation import Predictions
from ckd.evaluation.calibration import reliability
from ckd.evaluation.recency import class_shares
from ckd.report.measures import REFERENCES, measure
from ckd.report.naming import benchmark_name, method_names

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Run:
    """A finished run as it was found.

    Attributes:
        file: its result.json.
        result: what is in it.
        benchmark: what its numbers can be compared within: the data, how much of them, held out or not.
        method: what is compared: recipe, memory size and what else tells methods of one benchmark apart.
        values: measures by name, shares from 0 to 1.
        undefined: why the other measures are not defined.
        reliability: bins of confidence at the end (15, 3), as `ckd.evaluation.calibration.reliability` gives them; None
            without predictions.
        class_shares: share of the predictions at the end and of the labels for each class (C, 2); None without.
    """

    file: Path
    result: Result
    benchmark: str
    method: str
    values: dict[str, float]
    undefined: dict[str, str]
    reliability: NDArray[np.float64] | None = None
    class_shares: NDArray[np.float64] | None = None

    @property
    def reference(self) -> bool:
        """Whether it saw all data, so that it is a bound and no rival."""
        return self.result.spec.recipe in REFERENCES

    def predictions(self) -> Predictions:
        """What it predicted, read from its file.

        Raises:
            DataError: there is no such file, or it is not what a run writes, or of other results.
        """
        return _predictions(self.file, self.result)


@dataclass(frozen=True)
class LeftOut:
    """A file that was not used, and why."""

    file: Path
    reason: str


@dataclass(frozen=True)
class Results:
    """What `load_results` found.

    Attributes:
        found: runs, sorted by benchmark, method and seed.
        left_out: files that could not be used.
        notes: what is odd about those that were.
    """

    found: tuple[Run, ...]
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row a run: what was run, its measures (shares from 0 to 1, NaN where undefined), versions, its file."""
        import pandas as pd

        rows = []
        for run in self.found:
            spec = asdict(run.result.spec)
            settings = {f"settings.{name}": value for name, value in spec.pop("settings").items()}
            made = {f"made.{name}": value for name, value in run.result.made.items()}
            own = {"benchmark_name": spec.pop("benchmark"), **spec}
            rows.append(
                {"benchmark": run.benchmark, "method": run.method, **own, **run.values}
                | settings
                | made
                | {"file": str(run.file)}
            )
        return pd.DataFrame(rows, columns=None if rows else ["benchmark", "method", "seed", "accuracy"])

    @cached_property
    def experiences(self) -> pd.DataFrame:
        """One row a run, evaluation and test experience.

        `trained` is how many experiences were learnt before (0: none), `experience` counts from 1, `accuracy` and
        `task_accuracy` are from 0 to 1.
        """
        import pandas as pd

        rows = [row for run in self.found for row in _cells(run)]
        return pd.DataFrame(rows, columns=None if rows else ["benchmark", "method", "seed", "trained", "experience"])

    def benchmarks(self) -> dict[str, dict[str, list[Run]]]:
        """The runs by benchmark and method."""
        by: dict[str, dict[str, list[Run]]] = {}
        for run in self.found:
            by.setdefault(run.benchmark, {}).setdefault(run.method, []).append(run)
        return by


def load_results(*folders: str | Path) -> Results:
    """Read every result.json below the folders and merge them.

    Results of other versions and seeds fit; what does not is left alone and named in `left_out`. A run that is there
    twice is used once.

    Args:
        folders: output folders of `ckd run` and `ckd bench`, or folders above them.

    Raises:
        DataError: a folder that is not there.

    Example:
        >>> import tempfile
        >>> from ckd import load_results
        >>> from ckd.bench import plan, run, save
        >>> folder = tempfile.mkdtemp()
        >>> for seed in (0, 1):
        ...     _ = save(run(plan("split-digits", "naive", seed=seed, epochs=1)), Path(folder))
        >>> load_results(folder).runs[["method", "seed"]]
          method  seed
        0  naive     0
        1  naive     1
    """
    twins = 0
    loaded: dict[tuple[Path, int], tuple[Path, Result]] = {}
    left_out: list[LeftOut] = []
    notes: list[str] = []
    for file in _files(folders, FILE):
        try:
            result = load(file)
        except CkdError as error:
            left_out.append(LeftOut(file, f"expected {error.expected}; received {error.received}"))
            continue
        key = (result.spec.folder, result.spec.seed)
        if key not in loaded:
            loaded[key] = file, result
        elif np.array_equal(loaded[key][1].matrix.values, result.matrix.values, equal_nan=True):
            twins += 1
        else:
            left_out.append(LeftOut(file, f"the same run as {loaded[key][0]}, which is used, with other numbers"))
    if twins:
        notes.append(f"{twins} run{'s' * (twins > 1)} found twice, with the same numbers; each is used once")
    left_out += [LeftOut(file, f"diverged: {_reason(file)}") for file in _files(folders, DIVERGED)]
    names = method_names([result for _, result in loaded.values()])
    runs = []
    for file, result in loaded.values():
        predictions = cache(partial(_predictions, file, result))
        values, undefined = measure(result, predictions)
        benchmark, method = benchmark_name(result), names[result.spec.folder.parent]
        runs.append(Run(file, result, benchmark, method, values, undefined, *_at_the_end(predictions)))
    runs.sort(key=lambda run: (run.benchmark, run.method, run.result.spec.seed))
    _add_intransigence(runs)
    notes += _mixed_code(runs)
    return Results(tuple(runs), tuple(left_out), tuple(notes))


def _files(folders: Sequence[str | Path], name: str) -> list[Path]:
    files: dict[Path, Path] = {}
    every: Sequence[object] = folders
    for given in every:
        if not isinstance(given, str | os.PathLike):
            fix = "Write load_results('runs/a', 'runs/b')."
            raise DataError("results", expected="folders, one after the other", received=repr(given), fix=fix)
        folder = Path(given)
        if not folder.is_dir():
            raise DataError(
                f"results {folder}",
                expected="a folder that `ckd run` or `ckd bench` has written",
                received="a file" if folder.exists() else "nothing there",
                fix="Check the path.",
            )
        for file in sorted(folder.rglob(name)):
            files.setdefault(file.resolve(), file)
    return list(files.values())


def _reason(file: Path) -> str:
    try:
        return str(json.loads(file.read_text())["diverged"])
    except UNREADABLE:
        return "the file says no more"


def _predictions(file: Path, result: Result) -> Predictions:
    stored = file.with_name(PREDICTIONS)
    if not stored.exists():
        raise DataError(
            "predictions",
            expected=f"{PREDICTIONS} beside {FILE}",
            received="none",
            fix="Run it again with this version to have them.",
        )
    found = Predictions.load(stored)
    ours, theirs = result.matrix.values, found.matrix().values
    if theirs.shape != ours.shape or not np.allclose(theirs, ours, equal_nan=True):
        raise DataError(
            f"predictions {stored}", expected=f"those of {FILE}", received="other accuracies", fix="Run it again."
        )
    return found


def _at_the_end(predictions: Callable[[], Predictions]) -> tuple[NDArray[np.float64] | None, ...]:
    """What figures show of the predictions, so that they are read once and not kept."""
    try:
        return reliability(predictions()), class_shares(predictions())
    except CkdError:  # named among the undefined measures
        return None, None


def _cells(run: Run) -> Iterator[dict[str, Any]]:
    matrix, known = run.result.matrix, run.result.task_matrix
    rows = [(i + 1, matrix.values[i], known.values[i]) for i in range(len(matrix.values))]
    if not matrix.sequential:
        rows = [(len(matrix.values[0]), matrix.values[-1], known.values[-1])]
    if matrix.initial is not None and known.initial is not None:
        rows.insert(0, (0, matrix.initial, known.initial))
    for trained, accuracies, among_known in rows:
        for j, (accuracy, task_accuracy) in enumerate(zip(accuracies, among_known, strict=True)):
            yield {
                "benchmark": run.benchmark,
                "method": run.method,
                "seed": run.result.spec.seed,
                "trained": trained,
                "experience": j + 1,
                "accuracy": float(accuracy),
                "task_accuracy": float(task_accuracy),
            }


def _add_intransigence(runs: Sequence[Run]) -> None:
    """Compute it for the runs that have a reference with their benchmark, seed and network; one as long if there is."""
    references: dict[tuple[str, int, str, str], list[Run]] = {}
    for run in runs:
        if run.reference:
            references.setdefault(_comparable(run), []).append(run)
    for run in runs:
        found = references.get(_comparable(run), [])
        if found and run.result.matrix.sequential and not run.reference:
            as_long = [other for other in found if other.result.spec.epochs == run.result.spec.epochs]
            best = min(as_long or found, key=lambda other: REFERENCES.index(other.result.spec.recipe)).result.matrix
            a = best.values.diagonal() if best.sequential else best.values[-1]
            run.values["intransigence"] = run.result.matrix.intransigence(a)
            run.undefined.pop("intransigence", None)


def _comparable(run: Run) -> tuple[str, int, str, str]:
    """What a run and its reference have in common."""
    spec = run.result.spec
    return run.benchmark, spec.seed, spec.network, spec.network_code


def _mixed_code(runs: Sequence[Run]) -> list[str]:
    """A note for each method whose runs were made by different code or versions."""
    notes = []
    for name in ("code", "torch", "avalanche-ckd"):
        by: dict[tuple[str, str], set[str]] = {}
        for run in runs:
            by.setdefault((run.benchmark, run.method), set()).add(run.result.made.get(name, "not recorded"))
        mixed = [
            f"{method} on {benchmark} ({', '.join(sorted(v))})" for (benchmark, method), v in by.items() if len(v) > 1
        ]
        if mixed:
            notes.append(f"runs of one method differ in {name}: {'; '.join(mixed)}")
    return notes
