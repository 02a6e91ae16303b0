"""Relational distillation: distances and angles between the samples of a batch, not the features themselves.

Source: Park et al. 2019, Relational Knowledge Distillation, arXiv:1904.05068, eq. 5 and 8, with the
means of the authors' code.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ckd.losses._features import same_batch
from ckd.outputs import full_precision


def relational_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over j of smoothL1(d_ij(student) - d_ij(teacher)), distances over their mean in the batch.

    Rotation, shift and scale of all features change nothing, and their number may differ.

    Args:
        student: features (B, ...), flattened to vectors.
        teacher: features (B, ...).

    Returns:
        (B,), without unit; float32 for half-precision features; 0 for a batch of one. The authors weight it with 25.

    Raises:
        ConfigError: other numbers of samples.

    Example:
        >>> import torch
        >>> from ckd.losses import relational_distance
        >>> teacher = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 8.0]])
        >>> relational_distance(2 * teacher + 1, teacher)
        tensor([0., 0., 0.])
        >>> relational_distance(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.0], [1.0], [1.0]]))
        tensor([0.0521, 0.1042, 0.1354])
    """
    same_batch(student, teacher)
    gap = _distances(student) - _distances(teacher)
    return F.smooth_l1_loss(gap, torch.zeros_like(gap), reduction="none").mean(1)


def relational_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over j and k of smoothL1(cos ∠jik(student) - cos ∠jik(teacher)), the angle at sample i between j and k.

    Rotation, shift and scale of all features change nothing, and their number may differ. Takes B³ numbers.

    Args:
        student: features (B, ...), flattened to vectors.
        teacher: features (B, ...).

    Returns:
        (B,), without unit; float32 for half-precision features. The authors weight it with 50.

    Raises:
        ConfigError: other numbers of samples.

    Example:
        >>> import torch
        >>> from ckd.losses import relational_angle
        >>> corner, line = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0], [1.0], [2.0]])
        >>> relational_angle(corner, corner).abs().max() < 1e-6
        tensor(True)
        >>> relational_angle(corner, line)[0]
        tensor(0.1111)
    """
    same_batch(student, teacher)
    gap = _cosines(student) - _cosines(teacher)
    return F.smooth_l1_loss(gap, torch.zeros_like(gap), reduction="none").mean((1, 2))


def _distances(features: Tensor) -> Tensor:
    """Distances (B, B) over the mean of those that are not 0."""
    x = full_precision(features).flatten(1)
    squares = (x[:, None] - x[None]).square().sum(2)
    apart = squares > 0
    distances = squares.masked_fill(~apart, 1).sqrt().masked_fill(~apart, 0)  # the root's slope at 0 is infinite
    return distances / (distances.sum() / apart.sum().clamp(min=1)).clamp(min=torch.finfo(x.dtype).tiny)


def _cosines(features: Tensor) -> Tensor:
    """Cosines (B, B, B) of the angle at i between j and k; 0 where one of them is i."""
    x = full_precision(features).flatten(1)
    ways = F.normalize(x[None] - x[:, None], dim=2)
    return ways @ ways.mT
