"""Cross entropy that does not reward a class for being frequent.

Menon et al. 2021, Long-tail Learning via Logit Adjustment, arXiv:2007.07314, eq. 10. With the frequencies of the batch
itself: Huang et al. 2024 (ER-LAS), arXiv:2311.06460, whose window of one batch this is.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ckd.errors import ConfigError, DataError
from ckd.losses._cross_entropy import cross_entropy
from ckd.losses._masking import full_precision


def logit_adjusted_cross_entropy(
    student: Tensor,
    targets: Tensor,
    *,
    strength: float = 1.0,
    prior: Tensor | None = None,
    classes: Tensor | None = None,
) -> Tensor:
    """-log softmax(student + τ · log prior)[target] of every sample.

    Args:
        student: logits (B, C).
        targets: class indices (B,), int64.
        strength: τ >= 0. 0 is plain cross entropy among the classes whose prior is not 0, 1 the consistent choice.
        prior: how frequent each class is in training, (C,), >= 0, up to a factor; the counts of `targets` unless
            given. A class of prior 0 is left out of the softmax, which is the limit of the formula.
        classes: bool (C,) or (B, C), further restricts the softmax; None means no restriction.

    Returns:
        (B,), in nats. float32 for half precision input. A sample whose class is left out is worth 0.

    Raises:
        ConfigError: a strength below 0, or a prior that is not one number a class.
        DataError: a target outside [0, C).
    """
    check_strength(strength)
    student, width = full_precision(student), student.shape[1]
    if prior is None:
        prior = _counts(targets, width)
    elif prior.shape != (width,):
        raise ConfigError(
            "prior", expected=f"one number a class, ({width},)", received=tuple(prior.shape), fix="Count all classes."
        )
    there = prior > 0
    offset = strength * torch.where(there, prior, 1).to(student.dtype).log()
    allowed = there if classes is None else there & classes
    return cross_entropy(student + offset, targets, classes=allowed)


def check_strength(strength: float) -> None:
    """Raise unless `strength` is a finite number from 0."""
    if not 0 <= strength < math.inf:
        raise ConfigError("strength of the adjustment", expected="0 or more", received=strength, fix="Use 1.")


def _counts(targets: Tensor, width: int) -> Tensor:
    try:
        return targets.new_zeros(width).scatter_add_(0, targets, torch.ones_like(targets))
    except RuntimeError as error:
        raise DataError(
            "labels",
            expected=f"class indices from 0 to {width - 1}, the width of the head",
            received=f"labels from {int(targets.min())} to {int(targets.max())}",
            fix="Widen the head or renumber the classes from 0.",
        ) from error
