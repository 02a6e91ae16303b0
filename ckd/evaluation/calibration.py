"""How far probabilities can be trusted: calibration error, log likelihood and Brier score of one evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckd.evaluation.predictions import Predictions

BINS = 15
"""Of equal width, as in Guo et al. 2017."""


def expected_calibration_error(found: Predictions, evaluation: int = -1) -> float:
    """Σ over bins of n_b / N · |accuracy_b - confidence_b|, with 15 bins of equal width by the predicted probability.

    Source: Guo et al. 2017, arXiv:1706.04599, eq. 3.

    Args:
        found: predictions.
        evaluation: which row of them; -1 is the last.

    Returns:
        From 0 to 1; 0 is calibrated.
    """
    confidence, accuracy, share = reliability(found, evaluation).T
    return float(np.nansum(share * np.abs(accuracy - confidence)))


def negative_log_likelihood(found: Predictions, evaluation: int = -1) -> float:
    """Mean of -log p(label), in nats; infinite where the network has no output for a label.

    Args:
        found: predictions.
        evaluation: which row of them; -1 is the last.
    """
    return float(-_log_p_of_label(found, evaluation).mean())


def brier_score(found: Predictions, evaluation: int = -1) -> float:
    """Mean of Σ over classes of (p_c - [c is the label])² = (1 - p(label))² + Σ p² - p(label)², from 0 to 2.

    The last two terms are the squares of the other classes; their mean is never taken below 0, where rounding has it.

    Source: Brier 1950, Verification of Forecasts Expressed in Terms of Probability, eq. 2.

    Args:
        found: predictions.
        evaluation: which row of them; -1 is the last.
    """
    there = _samples(found, evaluation)
    squares = found.squares[evaluation, there].astype(np.float64)
    p = np.exp(_log_p_of_label(found, evaluation))
    return float(((1 - p) ** 2).mean() + max(0.0, (squares - p**2).mean()))


def reliability(found: Predictions, evaluation: int = -1) -> NDArray[np.float64]:
    """What a reliability diagram shows: for each of 15 bins its mean confidence, accuracy and share of samples (15, 3).

    Bins without samples have NaN confidence and accuracy.
    """
    confidence, right = _confidence(found, evaluation)
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(place, weights=values, minlength=BINS) / count for values in (confidence, right)]
    return np.stack([*means, count / count.sum()], axis=1)


def _samples(found: Predictions, evaluation: int) -> NDArray[np.bool_]:
    """Which samples were evaluated (N,)."""
    there: NDArray[np.bool_] = np.repeat(found.evaluated[evaluation], found.sizes)
    return there


def _confidence(found: Predictions, evaluation: int) -> tuple[NDArray[np.float64], NDArray[Any]]:
    there = _samples(found, evaluation)
    confidence = np.exp(found.log_confidence[evaluation, there].astype(np.float64))
    return confidence, (found.predicted[evaluation] == found.labels)[there]


def _log_p_of_label(found: Predictions, evaluation: int) -> NDArray[np.float64]:
    there = _samples(found, evaluation)
    parts = (found.log_confidence[evaluation, there], found.log_ratio[evaluation, there])
    log_p: NDArray[np.float64] = np.add(*parts, dtype=np.float64)
    return log_p
