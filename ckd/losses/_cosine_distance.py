"""The angle between the features of student and teacher, as its cosine: their size does not matter."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ckd.losses._features import same_shape
from ckd.losses._masking import check_share
from ckd.outputs import full_precision


def cosine_distance(student: Tensor, target: Tensor, *, angle_weight: float = 0.0) -> Tensor:
    """1 - cos θ + λ θ / π, where θ is the angle between the features of a sample, flattened to one vector.

    Near agreement 1 - cos θ has almost no gradient, and θ still has one.

    Args:
        student: features (B, ...).
        target: features of the same shape.
        angle_weight: λ, 0 or more.

    Returns:
        (B,), from 0 to 2 + λ; float32 for half-precision features. Features of length 0 have cos θ = 0. The gradient of
        θ is 0 where the two are parallel.

    Raises:
        ConfigError: student and target have different shapes, or λ is negative or not finite.

    Example:
        >>> import torch
        >>> from ckd.losses import cosine_distance
        >>> student, target = torch.tensor([[1.0, 0.0], [2.0, 2.0]]), torch.tensor([[0.0, 3.0], [1.0, 1.0]])
        >>> cosine_distance(student, target).round(decimals=4).abs()
        tensor([1., 0.])
        >>> cosine_distance(student[:1], target[:1], angle_weight=1.0)
        tensor([1.5000])
    """
    same_shape(student, target)
    check_share("angle_weight", angle_weight)
    cosine = F.cosine_similarity(full_precision(student).flatten(1), full_precision(target).flatten(1), dim=1)
    if not angle_weight:
        return 1 - cosine
    edge = cosine.abs() > 1 - 1e-7  # where the arc cosine's slope is infinite
    angle = torch.where(edge, cosine.detach().clamp(-1, 1), cosine.masked_fill(edge, 0)).acos()
    return 1 - cosine + angle_weight * angle / math.pi
