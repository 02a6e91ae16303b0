"""Function-space distance: the Euclidean distance between the class probabilities of two networks.

Source: Benjamin, Rolnick & Kording 2019, Measuring and Regularizing Networks in Function Space, arXiv:1805.08289.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ckd.losses._masking import check_same_shape, only


def probability_distance(student: Tensor, target: Tensor, *, classes: Tensor | None = None) -> Tensor:
    """‖softmax(student) - softmax(target)‖₂.

    The gradient is 0 where the two are equal.

    Args:
        student: logits (B, C).
        target: logits (B, C).
        classes: bool (C,) or (B, C), the classes over which both softmaxes run; None means all. Logits of other classes
            are ignored, NaN too. A sample with a single class or none has loss 0.

    Returns:
        (B,), from 0 to √2, a difference of probabilities; float32 for half-precision logits.

    Raises:
        ConfigError: student and target have different shapes, or are not (B, C).

    Example:
        >>> import torch
        >>> from ckd.losses import probability_distance
        >>> student, target = torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.6, 0.4]]).log()
        >>> probability_distance(student, target)
        tensor([0.4243])
    """
    check_same_shape(student, target)
    gap = only(student, classes).softmax(-1) - only(target, classes).softmax(-1)
    distance: Tensor = torch.linalg.vector_norm(gap, dim=-1)
    return distance
