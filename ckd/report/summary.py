"""The runs of one benchmark as a table of methods: means, spreads, tests that are corrected for how many there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ckd.evaluation.paired import MOST_PAIRS, paired_test
from ckd.evaluation.statistics import holm, seeds_needed
from ckd.report.measures import MEASURES
from ckd.report.results import Run

LEVEL = 0.05


@dataclass(frozen=True)
class Statistic:
    """Mean and standard deviation over the seeds that have a measure."""

    mean: float
    sd: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Statistic:
        """Of some values; the deviation of one is NaN."""
        return cls(
            float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan"), len(values)
        )


@dataclass(frozen=True)
class Row:
    """A method on a benchmark.

    Attributes:
        method: its name.
        runs: its seeds.
        statistics: by measure; what is undefined is not there.
        undefined: by measure, why.
        reference: whether it saw all data.
        p: of the paired test against the best method, corrected by Holm; None where there is no test.
        verdict: the test in words.
        best: whether it is better than every other method that is no reference, by those tests.
        published: a published accuracy in percent.
    """

    method: str
    runs: tuple[Run, ...]
    statistics: Mapping[str, Statistic]
    undefined: Mapping[str, str]
    reference: bool
    p: float | None
    verdict: str
    best: bool
    published: float | None = None

    @property
    def accuracy(self) -> float:
        """Mean average accuracy, from 0 to 1."""
        return self.statistics["accuracy"].mean


@dataclass(frozen=True)
class Summary:
    """A benchmark's methods, the best first.

    Attributes:
        benchmark: its name.
        rows: its methods.
        against: the method that the others are tested against.
        test: what the test is, or why it can say nothing.
    """

    benchmark: str
    rows: tuple[Row, ...]
    against: str
    test: str

    def row(self, method: str) -> Row:
        """The row of a method."""
        return next(row for row in self.rows if row.method == method)


def summarise(
    benchmark: str,
    methods: Mapping[str, Sequence[Run]],
    *,
    against: str | None = None,
    published: Mapping[tuple[str, int], float] | None = None,
) -> Summary:
    """Put the methods of a benchmark in a table.

    The others are tested against the best, or against the method whose name or recipe is `against`: of several memory
    sizes against the one that is as large. The test is exact and paired over the seeds that both have, and its p-values
    are corrected by Holm for the number of tests.

    Args:
        benchmark: its name.
        methods: runs by method.
        against: name or recipe of the method to test against.
        published: published average accuracies in percent, by (recipe, memory size).
    """
    means = {name: float(np.mean([run.values["accuracy"] for run in runs])) for name, runs in methods.items()}
    order = sorted(methods, key=lambda name: (methods[name][0].reference, -means[name]))
    rivals = [name for name in order if not methods[name][0].reference]
    named = [n for n in rivals if against is not None and against in (n, methods[n][0].result.spec.recipe)]
    chosen = named[0] if named else rivals[0] if rivals else order[0]
    tests: dict[str, tuple[float | None, str]] = {}
    raw: dict[str, tuple[float, int]] = {}
    for name in rivals:
        if name in (named or [chosen]):
            continue
        other = _opponent(methods, name, named) if named else chosen
        ours, theirs = _by_seed(methods[other]), _by_seed(methods[name])
        seeds = sorted(ours.keys() & theirs.keys())[:MOST_PAIRS]
        if len(seeds) < 2:
            tests[name] = None, "too few seeds in common to say"
        else:
            raw[name] = paired_test([ours[s] for s in seeds], [theirs[s] for s in seeds]), len(seeds)
    needed = seeds_needed(len(raw))
    for (name, (alone, n)), p in zip(raw.items(), holm([alone for alone, _ in raw.values()]), strict=True):
        words = "differs" if p < LEVEL else "too few seeds to say" if n < needed else "no difference shown"
        corrected = f", {p:.3f} after Holm" if len(raw) > 1 else ""
        tests[name] = p, f"{words} (p {alone:.3f}{corrected}, n {n})"
    wins = (
        not named[1:]
        and bool(tests)
        and all(p is not None and p < LEVEL and means[chosen] > means[n] for n, (p, _) in tests.items())
    )
    rows = tuple(
        _row(name, methods[name], tests.get(name, (None, "")), wins and name == chosen, published) for name in order
    )
    shown = methods[chosen][0].result.spec.recipe if len(named) > 1 else chosen
    return Summary(benchmark, rows, shown, _test_in_words(shown, len(raw), needed, methods, sizes=len(named) > 1))


def _opponent(methods: Mapping[str, Sequence[Run]], name: str, named: Sequence[str]) -> str:
    """Of the methods to test against the one with as large a memory, else the best."""
    size = methods[name][0].result.spec.memory_size
    return next((n for n in named if methods[n][0].result.spec.memory_size == size), named[0])


def _test_in_words(
    chosen: str, comparisons: int, needed: int, methods: Mapping[str, Sequence[Run]], *, sizes: bool
) -> str:
    if not comparisons:
        return "No test: fewer than two methods with two seeds in common."
    seeds = max(len(runs) for runs in methods.values())
    told = (
        f"Exact paired permutation test of accuracy against {chosen}{' with as large a memory' * sizes}, seed by seed, "
        "two-sided, p corrected by Holm for "
        f"{comparisons} comparison{'s' * (comparisons > 1)}."
    )
    if seeds < needed:
        told += f" With {seeds} seeds no such test can be below {LEVEL:g}; {needed} seeds could."
    return told


def _by_seed(runs: Sequence[Run]) -> dict[int, float]:
    return {run.result.spec.seed: run.values["accuracy"] for run in runs}


def _row(
    name: str,
    runs: Sequence[Run],
    test: tuple[float | None, str],
    best: bool,
    published: Mapping[tuple[str, int], float] | None,
) -> Row:
    statistics = {}
    undefined = {}
    for measure in MEASURES:
        values = [run.values[measure.name] for run in runs if measure.name in run.values]
        if values:
            statistics[measure.name] = Statistic.of(values)
        else:
            undefined[measure.name] = runs[0].undefined.get(measure.name, "")
    spec = runs[0].result.spec
    known = (published or {}).get((spec.recipe, spec.memory_size))
    return Row(name, tuple(runs), statistics, undefined, runs[0].reference, *test, best, known)
