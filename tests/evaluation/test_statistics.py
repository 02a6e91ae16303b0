"""Corrected tests, robust means and ranks, against worked examples and other libraries."""

import numpy as np
import pytest
from scipy.stats import friedmanchisquare, rankdata

from ckd.errors import ConfigError
from ckd.evaluation.statistics import average_ranks, holm, interquartile_interval, interquartile_mean, seeds_needed


def test_holm_by_hand():
    # sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.06 after making them rise
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([]) == []
    from statsmodels.stats.multitest import multipletests  # takes seconds

    drawn = np.random.default_rng(0).random(12) ** 3
    assert holm(drawn) == pytest.approx(multipletests(drawn, method="holm")[1])
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_as_many_seeds_as_needed_and_no_more():
    for comparisons in range(1, 30):
        n = seeds_needed(comparisons)
        assert holm([2 / 2**n] + [1.0] * (comparisons - 1))[0] < 0.05
        assert holm([2 / 2 ** (n - 1)] + [1.0] * (comparisons - 1))[0] >= 0.05


def test_the_interquartile_mean_leaves_out_the_outer_quarters():
    assert interquartile_mean([1, 2, 3, 4, 5, 6, 7, 8]) == np.mean([3, 4, 5, 6])
    assert interquartile_mean([[0, 10], [20, 1000]]) == 15


def test_the_interval_holds_the_mean_and_shrinks_with_seeds():
    generator = np.random.default_rng(0)
    few, many = ([generator.normal(m, 1, n).tolist() for m in (50, 52)] for n in (5, 200))
    for scores in (few, many):
        low, high = interquartile_interval(scores)
        assert low <= interquartile_mean(np.concatenate(scores)) <= high
    assert np.ptp(interquartile_interval(many)) < np.ptp(interquartile_interval(few))


def test_seeds_are_drawn_within_each_benchmark():
    # were they drawn over all, the mean would move between the benchmarks; within each, every draw is the same
    assert interquartile_interval([[10, 10, 10], [90, 90, 90]]) == (50, 50)


def test_a_benchmark_without_scores_is_refused():
    with pytest.raises(ConfigError, match="scores"):
        interquartile_interval([[1.0], []])


def test_average_ranks_are_those_of_friedmans_test():
    scores = np.random.default_rng(1).random((7, 4))
    assert average_ranks(scores) == pytest.approx(rankdata(-scores, axis=1).mean(0))
    n, k = scores.shape
    statistic = 12 * n / (k * (k + 1)) * (np.sum(average_ranks(scores) ** 2) - k * (k + 1) ** 2 / 4)
    assert friedmanchisquare(*scores.T).statistic == pytest.approx(statistic)
    assert average_ranks(np.array([[3, 1, 1], [3, 2, 1]])).tolist() == [1, 2.25, 2.75]
