"""Several methods on the same seeds, and on several benchmarks: corrected tests, robust means, ranks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ckd.errors import ConfigError


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for as many comparisons: the k-th smallest of n times n - k + 1, made to rise, at most 1.

    Source: Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return [float(value) for value in corrected]


def seeds_needed(comparisons: int, level: float = 0.05) -> int:
    """Seeds with which an exact paired test, after Holm over so many comparisons, can be below `level` at all.

    n seeds give no p-value below 2 / 2ⁿ, and the smallest of them is multiplied with the number of comparisons.

    Example:
        >>> seeds_needed(1), seeds_needed(6)
        (6, 8)
    """
    n = 2
    while 2 / 2**n * max(comparisons, 1) >= level:
        n += 1
    return n


def interquartile_mean(scores: Sequence[float] | NDArray[np.float64]) -> float:
    """Mean of the middle half (Agarwal et al. 2021, arXiv:2108.13264); computed by scipy.

    Example:
        >>> interquartile_mean([0, 10, 20, 1000])
        15.0
    """
    from scipy.stats import trim_mean

    return float(trim_mean(np.asarray(scores, dtype=np.float64).ravel(), 0.25))


def interquartile_interval(
    by_benchmark: Sequence[Sequence[float]], *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the interquartile mean, by drawing seeds again within each benchmark.

    Source: the stratified bootstrap of Agarwal et al. 2021, arXiv:2108.13264, sec. 4.

    Args:
        by_benchmark: scores of a method's seeds, for each benchmark.
        level: share of the draws inside.
        draws: how many.
        seed: of the draws.

    Raises:
        ConfigError: a benchmark without scores.
    """
    from scipy.stats import trim_mean

    strata = [np.asarray(scores, dtype=np.float64) for scores in by_benchmark]
    if not strata or not all(map(len, strata)):
        received = [len(s) for s in strata]
        raise ConfigError("scores", expected="some for each benchmark", received=received, fix="Leave it out.")
    generator = np.random.default_rng(seed)
    drawn = np.concatenate([s[generator.integers(len(s), size=(draws, len(s)))] for s in strata], axis=1)
    means = trim_mean(drawn, 0.25, axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def average_ranks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean rank of each method over benchmarks (M,), of scores (B, M); 1 is the highest score, ties share.

    Source: Demšar 2006, Statistical Comparisons of Classifiers over Multiple Data Sets, sec. 3.2.
    """
    from scipy.stats import rankdata

    ranks: NDArray[np.float64] = rankdata(-np.asarray(scores), axis=1).mean(0)
    return ranks
