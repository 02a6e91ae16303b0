"""Which classes a network prefers, and how much it agrees with what it was."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ckd.errors import DataError
from ckd.evaluation.predictions import Predictions


def class_shares(found: Predictions, evaluation: int = -1) -> NDArray[np.float64]:
    """Share of the predictions and of the labels that each class has, (C, 2), over all test samples."""
    classes = int(max(found.predicted[evaluation].max(), found.labels.max())) + 1
    counts = [np.bincount(of, minlength=classes) for of in (found.predicted[evaluation], found.labels)]
    return np.stack(counts, axis=1) / len(found.labels)


def recency_bias(found: Predictions, evaluation: int = -1) -> float:
    """Share of predictions that fall on the classes of the newest experience, minus the share of labels that do.

    0 is unbiased; 0.8 is what a network has that predicts nothing but the newest of five experiences.

    Raises:
        DataError: experiences that share classes, or that were not all evaluated.
    """
    newest = set(found.labels[found.of_experience(len(found.sizes) - 1)].tolist())
    older = set(found.labels[: found.of_experience(len(found.sizes) - 1).start].tolist())
    if newest & older or not older or not found.evaluated[evaluation].all():
        raise DataError(
            "recency bias",
            expected="experiences with classes of their own, all evaluated",
            received=f"{len(newest & older)} classes of the newest experience in older ones",
            fix="It is defined where new classes come.",
        )
    shares = class_shares(found, evaluation)[sorted(newest)]
    return float(shares[:, 0].sum() - shares[:, 1].sum())


def agreement_with_past_self(found: Predictions) -> float:
    """How often the network after an experience predicts for older test samples what it predicted before, mean over
    experiences.

    The network before an experience is the teacher of methods with a snapshot of what evaluates.

    Raises:
        DataError: fewer than two experiences.
    """
    ends = np.cumsum(found.sizes)
    rows = np.flatnonzero(found.trained > 0)
    if len(rows) < 2:
        raise DataError(
            "agreement with the past self",
            expected="evaluations after two experiences or more",
            received=len(rows),
            fix="Train experience by experience.",
        )
    shares = []
    for before, after in pairwise(rows):
        known = slice(0, int(ends[found.trained[before] - 1]))
        shares.append((found.predicted[before, known] == found.predicted[after, known]).mean())
    return float(np.mean(shares))
