"""Feature distillation: how far the student's features are from the teacher's.

Gu, Shim & Shkurti 2023 (BFP), arXiv:2303.14595, eq. 4, as in the authors' code: the length of the difference.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ckd.losses._masking import check_same_shape, full_precision


def feature_distance_per_sample(student: Tensor, target: Tensor) -> Tensor:
    """‖student - target‖₂ of every sample; its gradient is zero where the two are equal.

    Args:
        student: features (B, D).
        target: features (B, D).

    Returns:
        (B,), in the features' unit. float32 for half precision input.

    Raises:
        ConfigError: shapes that differ.
    """
    check_same_shape(student, target)
    distance: Tensor = torch.linalg.vector_norm(full_precision(student) - full_precision(target), dim=-1)
    return distance


def feature_distance(student: Tensor, target: Tensor) -> Tensor:
    """Batch mean of `feature_distance_per_sample`, a scalar."""
    return feature_distance_per_sample(student, target).mean()
