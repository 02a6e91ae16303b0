"""Is one method better than another on the same seeds? An exact test that assumes nothing but pairing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ckd.errors import ConfigError

MOST_PAIRS = 20
"""As many make a million exchanges."""


def paired_test(one: Sequence[float], other: Sequence[float]) -> float:
    """Two-sided p-value of the mean difference between paired results, by all 2ⁿ exchanges within pairs.

    The smallest value that n pairs can give is 2 / 2ⁿ: 0.0625 for 5, 0.03125 for 6.

    Args:
        one: results of a method, one for each seed (n,).
        other: of another, for the same seeds in the same order (n,).

    Raises:
        ConfigError: results that are not pairs of finite numbers, fewer than 2 or more than 20.

    Example:
        >>> round(paired_test([1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 0]), 5)
        0.03125
    """
    from scipy.stats import permutation_test  # takes a second to import

    a, b = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    if a.shape != b.shape or a.ndim != 1 or not 2 <= len(a) <= MOST_PAIRS or not np.isfinite([a, b]).all():
        received = f"{a.tolist()} and {b.tolist()}"
        expected = f"2 to {MOST_PAIRS} finite pairs"
        raise ConfigError("paired test", expected=expected, received=received, fix="Use the same seeds.")
    found = permutation_test(
        (a, b),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        batch=2**14,
    )
    return float(found.pvalue)
