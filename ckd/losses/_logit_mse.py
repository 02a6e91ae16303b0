"""Logit matching: the mean squared difference of logits.

Ba & Caruana, Do Deep Nets Really Need to be Deep?, 2014, arXiv:1312.6184, eq. 1; with the normalisation of
Buzzega et al. 2020 (DER), arXiv:2004.07211: the mean over classes.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ckd.losses._masking import check_same_shape, full_precision


def logit_mse(student: Tensor, target: Tensor, *, classes: Tensor | None = None) -> Tensor:
    """Mean over the classes of (student - target)² for every sample.

    Args:
        student: logits (B, C).
        target: logits (B, C).
        classes: bool (C,) or (B, C), the classes that are compared; None means all. What stands at the others
            (masked units, NaN) does not matter; a row without any class is worth 0.

    Returns:
        (B,), in squared logits. float32 for half precision input.

    Raises:
        ConfigError: shapes that differ.
    """
    check_same_shape(student, target)
    if classes is None:
        return F.mse_loss(full_precision(student), full_precision(target), reduction="none").mean(-1)
    gap = full_precision(student).masked_fill(~classes, 0) - full_precision(target).masked_fill(~classes, 0)
    return gap.square().sum(-1) / classes.sum(-1).clamp(min=1)
