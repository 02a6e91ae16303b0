"""The exact paired test, against all exchanges written out."""

from itertools import product

import numpy as np
import pytest

from ckd.errors import ConfigError
from ckd.evaluation import paired_test


def by_hand(one, other):
    difference = np.array(one) - np.array(other)
    means = [abs(np.mean(difference * signs)) for signs in product((1, -1), repeat=len(difference))]
    return np.mean([m >= abs(difference.mean()) - 1e-12 for m in means])


@pytest.mark.parametrize("seed", range(8))
def test_it_counts_the_exchanges_that_are_as_extreme(seed):
    rng = np.random.default_rng(seed)
    one, other = rng.normal(0.8, 0.02, 6), rng.normal(0.79, 0.02, 6)
    assert paired_test(one, other) == pytest.approx(by_hand(one, other))
    assert paired_test(other, one) == pytest.approx(paired_test(one, other))


@pytest.mark.parametrize(("pairs", "smallest"), [(5, 0.0625), (6, 0.03125), (10, 2 / 1024)])
def test_the_smallest_p_value_is_one_of_two_sides(pairs, smallest):
    assert paired_test(np.linspace(0.9, 0.95, pairs), np.linspace(0.5, 0.6, pairs)) == pytest.approx(smallest)


@pytest.mark.parametrize(
    ("one", "other"), [([1.0], [2.0]), ([1.0, 2.0], [1.0]), ([[1.0, 2.0]], [[1.0, 2.0]]), ([1.0, np.nan], [1.0, 2.0])]
)
def test_what_is_not_in_pairs_is_refused(one, other):
    with pytest.raises(ConfigError, match="2 to 20 finite pairs"):
        paired_test(one, other)
