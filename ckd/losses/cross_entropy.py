"""Cross entropy with labels, over all classes or a chosen set of them.

The restricted form is the asymmetric cross entropy of Caccia et al. 2022 (ER-ACE), arXiv:2104.05025, eq. 6.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ckd.errors import DataError
from ckd.losses._masking import only


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
    _check_targets(student, targets)
    if classes is None:
        return F.cross_entropy(only(student, None), targets, reduction="none")
    losses = F.cross_entropy(only(student, classes), targets, reduction="none")
    member = classes.expand_as(student).gather(1, targets[:, None])[:, 0]
    return losses.masked_fill(~member, 0)


def cross_entropy(student: Tensor, targets: Tensor, *, classes: Tensor | None = None) -> Tensor:
    """Batch mean of `cross_entropy_per_sample`, a scalar."""
    return cross_entropy_per_sample(student, targets, classes=classes).mean()


def _check_targets(student: Tensor, targets: Tensor) -> None:
    if targets.device.type != "cpu" or not len(targets):
        return
    lowest, highest = int(targets.min()), int(targets.max())
    if lowest < 0 or highest >= student.shape[1]:
        raise DataError(
            "labels",
            expected=f"class indices from 0 to {student.shape[1] - 1}, the width of the head",
            received=f"labels from {lowest} to {highest}",
            fix="Widen the head or renumber the classes from 0.",
        )
