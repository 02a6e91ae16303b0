"""Hinge distillation: the student's logits need only come within a margin of the teacher's."""

from __future__ import annotations

import math

from torch import Tensor

from ckd.errors import ConfigError
from ckd.losses._masking import check_same_shape, check_share
from ckd.outputs import full_precision


def hinge(
    student: Tensor, teacher: Tensor, *, margin: float = 0.0, balance: float = 1.0, classes: Tensor | None = None
) -> Tensor:
    """Mean over the classes of max(0, t - s + δ) + λ max(0, s - t + δ), with logits s and t.

    With δ below 0 gaps up to |δ| cost nothing. With δ above 0 the loss is (1 + λ) δ where the two are equal.

    Args:
        student: logits (B, C).
        teacher: logits (B, C).
        margin: δ, in logits.
        balance: λ, 0 or more: how much being above the teacher costs beside being below.
        classes: bool (C,) or (B, C), the classes over which the mean runs; None means all. Logits of other classes are
            ignored, NaN too. A sample without any class has loss 0.

    Returns:
        (B,), in logits; float32 for half-precision logits.

    Raises:
        ConfigError: δ is not finite, λ is negative or not finite; student and teacher have different shapes, or are not
            (B, C).

    Example:
        >>> import torch
        >>> from ckd.losses import hinge
        >>> student, teacher = torch.tensor([[0.0, 3.0]]), torch.tensor([[1.0, 1.0]])
        >>> hinge(student, teacher), hinge(student, teacher, balance=0.5), hinge(student, teacher, margin=-1.5)
        (tensor([1.5000]), tensor([1.]), tensor([0.2500]))
    """
    if not math.isfinite(margin):
        raise ConfigError("margin", expected="a finite number", received=margin, fix="Use 0.")
    check_share("balance", balance)
    check_same_shape(student, teacher)
    gap = full_precision(teacher) - full_precision(student)
    per_class = (gap + margin).relu() + balance * (margin - gap).relu()
    if classes is None:
        return per_class.mean(-1)
    return per_class.masked_fill(~classes, 0).sum(-1) / classes.sum(-1).clamp(min=1)
