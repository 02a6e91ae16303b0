"""Binary cross entropy: each class is a yes-or-no decision of its own.

Source: Rebuffi et al. 2017 (iCaRL), arXiv:1611.07725, algorithm 3. There the targets of the new classes are the labels,
those of the old classes the old network's sigmoid outputs.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ckd.losses._masking import check_same_shape
from ckd.outputs import full_precision


def binary_cross_entropy(student: Tensor, target: Tensor, *, classes: Tensor | None = None) -> Tensor:
    """Sum over the classes of -(p log σ(z) + (1 - p) log(1 - σ(z))), with logit z and target p.

    Args:
        student: logits (B, C).
        target: probabilities (B, C), each from 0 to 1. They need not sum to 1 over the classes.
        classes: bool (C,) or (B, C), the classes that are summed over; None means all. Logits and targets of other
            classes are ignored, NaN too. A sample without any class has loss 0.

    Returns:
        (B,), in nats; float32 for half-precision logits.

    Raises:
        ConfigError: student and target have different shapes, or are not (B, C).

    Example:
        >>> import torch
        >>> from ckd.losses import binary_cross_entropy
        >>> target = torch.tensor([[1.0, 0.0, 0.5]])
        >>> binary_cross_entropy(torch.zeros(1, 3), target)
        tensor([2.0794])
        >>> binary_cross_entropy(torch.zeros(1, 3), target, classes=torch.tensor([True, True, False]))
        tensor([1.3863])
    """
    check_same_shape(student, target)
    student = full_precision(student)
    target = target.to(student.dtype)
    if classes is None:
        return F.binary_cross_entropy_with_logits(student, target, reduction="none").sum(-1)
    student, target = student.masked_fill(~classes, 0), target.masked_fill(~classes, 0)
    per_class = F.binary_cross_entropy_with_logits(student, target, reduction="none")
    return per_class.masked_fill(~classes, 0).sum(-1)
