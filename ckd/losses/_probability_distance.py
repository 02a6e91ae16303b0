"""The distance of two answers as functions: the Euclidean norm of the difference of their probabilities.

Benjamin, Rolnick & Kording, Measuring and Regularizing Networks in Function Space, 2019, arXiv:1805.08289.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ckd.losses._masking import check_same_shape, only


def probability_distance(student: Tensor, target: Tensor, *, classes: Tensor | None = None) -> Tensor:
    """‖softmax(student) - softmax(target)‖₂ of every sample.

    Args:
        student: logits (B, C).
        target: logits (B, C).
        classes: bool (C,) or (B, C), the classes over which the softmax runs; None means all. What stands at the
            others does not matter; a row without any class is worth 0.

    Returns:
        (B,), from 0 to √2. float32 for half precision input. At distance 0 the gradient is 0.

    Raises:
        ConfigError: shapes that differ.
    """
    check_same_shape(student, target)
    gap = only(student, classes).softmax(-1) - only(target, classes).softmax(-1)
    distance: Tensor = torch.linalg.vector_norm(gap, dim=-1)
    return distance
