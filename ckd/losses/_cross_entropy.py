"""Cross entropy with labels, over all classes or a chosen set of them.

The restricted form is the asymmetric cross entropy of Caccia et al. 2022 (ER-ACE), arXiv:2104.05025, eq. 6.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ckd.errors import DataError
from ckd.losses._masking import only


def cross_entropy(student: Tensor, targets: Tensor, *, classes: Tensor | None = None) -> Tensor:
    """-Σ_c target_c · log softmax(student)_c of every sample, the softmax running over `classes`.

    Args:
        student: logits (B, C).
        targets: class indices (B,), int64, or class probabilities (B, C). What they say of classes outside `classes`
            is worth 0: that softmax says nothing about them.
        classes: bool (C,) or (B, C); None means all.

    Returns:
        (B,), in nats. float32 for half precision input.

    Raises:
        DataError: a target outside [0, C). Checked where it costs nothing, on the CPU.

    Example:
        >>> import torch
        >>> cross_entropy(torch.zeros(2, 4), torch.tensor([0, 3]))
        tensor([1.3863, 1.3863])
    """
    if targets.is_floating_point():
        log_p = only(student, classes).log_softmax(-1)
        return -(targets if classes is None else targets.masked_fill(~classes, 0)).mul(log_p).sum(-1)
    losses = _with_labels(only(student, classes), targets)
    if classes is None:
        return losses
    member = classes.expand_as(student).gather(1, targets[:, None])[:, 0]
    return losses.masked_fill(~member, 0)


def _with_labels(logits: Tensor, targets: Tensor) -> Tensor:
    try:
        return F.cross_entropy(logits, targets, reduction="none", ignore_index=_NO_LABEL)
    except IndexError as error:  # torch's own check, on the CPU
        raise DataError(
            "labels",
            expected=f"class indices from 0 to {logits.shape[1] - 1}, the width of the head",
            received=f"labels from {int(targets.min())} to {int(targets.max())}",
            fix="Widen the head or renumber the classes from 0.",
        ) from error


_NO_LABEL = torch.iinfo(torch.int64).min  # no label is left out, torch's -100 neither
