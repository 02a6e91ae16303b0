"""Cross entropy with logit adjustment, for training on classes of unequal frequency.

Source: Menon et al. 2021, Long-tail Learning via Logit Adjustment, arXiv:2007.07314, eq. 10. Counting the classes in
the batch itself: Huang et al. 2024 (ER-LAS), arXiv:2311.06460, with a window of one batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ckd.errors import ConfigError, DataError
from ckd.losses._cross_entropy import cross_entropy
from ckd.outputs import full_precision


def logit_adjusted_cross_entropy(
    student: Tensor,
    targets: Tensor,
    *,
    strength: float = 1.0,
    prior: Tensor | None = None,
    classes: Tensor | None = None,
) -> Tensor:
    """-log softmax(z + τ log π)_y, with logits z, label y, class frequencies π and strength τ.

    Args:
        student: logits (B, C).
        targets: labels (B,), int64.
        strength: τ, 0 or more. 1 is consistent for the balanced error; 0 is plain cross entropy over the classes with a
            frequency above 0.
        prior: π (C,), how often each class occurs in training: counts or shares, 0 or more. None counts the labels in
            `targets`. A class with frequency 0 is left out of the softmax, which is the limit of the formula.
        classes: bool (C,) or (B, C), restricts the softmax further; None means no further restriction. Logits of other
            classes are ignored, NaN too.

    Returns:
        (B,), in nats; float32 for half-precision logits. A sample whose class is left out has loss 0.

    Raises:
        ConfigError: τ is negative or not finite, or the prior does not have one number for each class.
        DataError: a label below 0 or above C - 1. Checked on the CPU only.

    Example:
        >>> import torch
        >>> from ckd.losses import logit_adjusted_cross_entropy
        >>> logits, labels = torch.zeros(4, 2), torch.tensor([0, 1, 1, 1])
        >>> logit_adjusted_cross_entropy(logits, labels)
        tensor([1.3863, 0.2877, 0.2877, 0.2877])
        >>> logit_adjusted_cross_entropy(logits, labels, prior=torch.tensor([500, 500]))
        tensor([0.6931, 0.6931, 0.6931, 0.6931])
    """
    check_strength(strength)
    student, width = full_precision(student), student.shape[1]
    if prior is None:
        prior = count_classes(targets, width)
    elif prior.shape != (width,):
        raise ConfigError(
            "prior", expected=f"one number a class, ({width},)", received=tuple(prior.shape), fix="Count all classes."
        )
    there = prior > 0
    prior = prior.to(torch.promote_types(prior.dtype, student.dtype))
    offset = strength * torch.where(there, prior, 1).log().to(student.dtype)
    allowed = there if classes is None else there & classes
    return cross_entropy(student + offset, targets, classes=allowed)


def check_strength(strength: float) -> None:
    """Check that the strength of a logit adjustment is a finite number, 0 or more.

    Raises:
        ConfigError: it is not.

    Example:
        >>> from ckd.losses import check_strength
        >>> check_strength(-1)
        Traceback (most recent call last):
        ckd.errors.ConfigError: strength of the adjustment: expected 0 or more; received -1. Use 1.
    """
    if not 0 <= strength < math.inf:
        raise ConfigError("strength of the adjustment", expected="0 or more", received=strength, fix="Use 1.")


def count_classes(targets: Tensor, width: int) -> Tensor:
    """How often each of `width` classes occurs in `targets` (B,): (width,), of their dtype.

    Raises:
        DataError: a label below 0 or from `width` on. Checked on the CPU only.
    """
    try:
        return targets.new_zeros(width).scatter_add_(0, targets, torch.ones_like(targets))
    except RuntimeError as error:
        raise DataError(
            "labels",
            expected=f"class indices from 0 to {width - 1}, the width of the head",
            received=f"labels from {int(targets.min())} to {int(targets.max())}",
            fix="Widen the head or renumber the classes from 0.",
        ) from error
