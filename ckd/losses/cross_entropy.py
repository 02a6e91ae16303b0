"""Cross entropy with labels, over all classes or a chosen set of them.

The restricted form is the asymmetric cross entropy of Caccia et al. 2022 (ER-ACE), arXiv:2104.05025, eq. 6.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ckd.errors import DataError
from ckd.losses._masking import full_precision, only


def cross_entropy_per_sample(student: Tensor, targets: Tensor, *, classes: Tensor | None = None) -> Tensor:
    """-log softmax(student)[target] of every sample, the softmax running over `classes`.

    Args:
        student: logits (B, C).
        targets: class indices (B,), int64. A sample whose class is outside `classes` is worth 0: that softmax
            says nothing about it.
        classes: bool (C,) or (B, C); None means all.

    Returns:
        (B,), in nats. float32 for half precision input.

    Raises:
        DataError: a target outside [0, C). Checked where it costs nothing, on the CPU.
    """
    losses = _cross_entropy(only(student, classes), targets)
    if classes is None:
        return losses
    member = classes.expand_as(student).gather(1, targets[:, None])[:, 0]
    return losses.masked_fill(~member, 0)


def cross_entropy(student: Tensor, targets: Tensor, *, classes: Tensor | None = None) -> Tensor:
    """Batch mean of `cross_entropy_per_sample`, a scalar."""
    if classes is None:
        return _cross_entropy(full_precision(student), targets, "mean")
    return cross_entropy_per_sample(student, targets, classes=classes).mean()


def _cross_entropy(logits: Tensor, targets: Tensor, reduction: str = "none") -> Tensor:
    try:
        return F.cross_entropy(logits, targets, reduction=reduction, ignore_index=_NO_LABEL)
    except IndexError as error:  # torch's own check, on the CPU
        raise DataError(
            "labels",
            expected=f"class indices from 0 to {logits.shape[1] - 1}, the width of the head",
            received=f"labels from {int(targets.min())} to {int(targets.max())}",
            fix="Widen the head or renumber the classes from 0.",
        ) from error


_NO_LABEL = torch.iinfo(torch.int64).min  # no label is left out, torch's -100 neither
