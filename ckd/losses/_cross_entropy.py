"""Cross entropy with labels or class probabilities, over all classes or some of them.

Source of the restricted form: Caccia et al. 2022 (ER-ACE, asymmetric cross entropy), arXiv:2104.05025, eq. 6.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ckd.errors import DataError
from ckd.losses._masking import check_same_shape, only


def cross_entropy(student: Tensor, targets: Tensor, *, classes: Tensor | None = None) -> Tensor:
    """-Σ_c p_c log softmax(z)_c, with logits z and class probabilities p; the softmax and the sum run over `classes`.

    With a label y this is -log softmax(z)_y.

    Args:
        student: logits (B, C).
        targets: labels (B,), int64, or class probabilities (B, C), floating point.
        classes: bool (C,) or (B, C); None means all. Logits of other classes are ignored, NaN too. Their probabilities
            count as 0; the others are not scaled up to a sum of 1. A sample whose label is not in `classes` has loss 0.

    Returns:
        (B,), in nats; float32 for half-precision logits.

    Raises:
        ConfigError: probabilities that are not (B, C).
        DataError: a label below 0 or above C - 1. Checked on the CPU only, where it costs nothing.

    Example:
        >>> import torch
        >>> from ckd.losses import cross_entropy
        >>> logits, labels = torch.zeros(2, 4), torch.tensor([0, 3])
        >>> cross_entropy(logits, labels)
        tensor([1.3863, 1.3863])
        >>> cross_entropy(logits, labels, classes=torch.tensor([True, True, False, False]))
        tensor([0.6931, 0.0000])
        >>> probabilities = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.1, 0.2, 0.3, 0.4]])
        >>> cross_entropy(logits, probabilities)
        tensor([1.3863, 1.3863])
    """
    if targets.is_floating_point():
        check_same_shape(student, targets)
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


_NO_LABEL = torch.iinfo(torch.int64).min  # torch ignores labels of -100 by default; here none is ignored
