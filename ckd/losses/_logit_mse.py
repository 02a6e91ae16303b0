"""Logit matching: the mean squared difference of logits.

Sources: Ba & Caruana 2014, Do Deep Nets Really Need to be Deep?, arXiv:1312.6184, eq. 1; Buzzega et al. 2020 (DER),
arXiv:2004.07211, for the mean over classes in place of the sum.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ckd.losses._masking import check_same_shape
from ckd.outputs import full_precision


def logit_mse(student: Tensor, target: Tensor, *, zero_mean: bool = False, classes: Tensor | None = None) -> Tensor:
    """Mean over the classes of (student - target)².

    With `zero_mean` each sample's logits are shifted to mean 0 first: twice what `kd` comes to at a high temperature
    (Hinton et al. 2015, arXiv:1503.02531, eq. 4).

    Args:
        student: logits (B, C).
        target: logits (B, C).
        zero_mean: whether only differences between classes count.
        classes: bool (C,) or (B, C), the classes over which the mean runs; None means all. Logits of other classes are
            ignored, NaN too. A sample without any class has loss 0.

    Returns:
        (B,), in squared logits; float32 for half-precision logits.

    Raises:
        ConfigError: student and target have different shapes, or are not (B, C).

    Example:
        >>> import torch
        >>> from ckd.losses import logit_mse
        >>> student, target = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 4.0, 7.0]])
        >>> logit_mse(student, target)
        tensor([6.6667])
        >>> logit_mse(student, target, classes=torch.tensor([True, True, False]))
        tensor([2.])
        >>> logit_mse(student, student + 5, zero_mean=True)
        tensor([0.])
    """
    check_same_shape(student, target)
    if classes is None:
        if not zero_mean:
            return F.mse_loss(full_precision(student), full_precision(target), reduction="none").mean(-1)
        gap = full_precision(student) - full_precision(target)
        return (gap - gap.mean(-1, keepdim=True)).square().mean(-1)
    gap = full_precision(student).masked_fill(~classes, 0) - full_precision(target).masked_fill(~classes, 0)
    number = classes.sum(-1).clamp(min=1)
    if zero_mean:
        mean = gap.sum(-1) / number
        gap = (gap - mean[..., None]).masked_fill(~classes, 0)
    return gap.square().sum(-1) / number
