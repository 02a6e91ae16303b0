"""Feature distillation: how far the student's features are from the teacher's.

Gu, Shim & Shkurti 2023 (BFP), arXiv:2303.14595, eq. 4, as in the authors' code: the length of the difference.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ckd.errors import ConfigError
from ckd.losses._masking import full_precision


def feature_distance(student: Tensor, target: Tensor) -> Tensor:
    """‖student - target‖₂ of every sample; its gradient is zero where the two are equal.

    Args:
        student: features (B, ...).
        target: features (B, ...), of the same shape.

    Returns:
        (B,), in the features' unit. float32 for half precision input.

    Raises:
        ConfigError: shapes that differ.
    """
    if student.shape != target.shape:
        raise ConfigError(
            "features to compare",
            expected=f"two tensors of one shape, the target's {tuple(target.shape)}",
            received=f"student features of shape {tuple(student.shape)}",
            fix="Give the term an adaptor, which learns a map from one to the other.",
        )
    gap = full_precision(student) - full_precision(target)
    distance: Tensor = torch.linalg.vector_norm(gap.flatten(1), dim=-1)
    return distance
