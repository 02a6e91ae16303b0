"""Relational distillation: distances and angles between the samples of a batch, not the features themselves.

Source: Park et al. 2019, Relational Knowledge Distillation, arXiv:1904.05068, eq. 5 and 8, with the
means of the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ckd.losses._features import same_batch
from ckd.losses._masking import check_share
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


@dataclass(frozen=True)
class Relational:
    """Distances and angles together: weight · `relational_distance` + weight · `relational_angle`.

    Args:
        distance_weight: of the distances; the authors' unless given.
        angle_weight: of the angles; the authors' unless given. With 0 the B³ numbers are not computed.

    Example:
        >>> import torch
        >>> from ckd.losses import Relational
        >>> Relational()(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[1.0], [3.0], [5.0]]))
        tensor([0., 0., 0.])
    """

    distance_weight: float = 25.0
    angle_weight: float = 50.0

    def __post_init__(self) -> None:
        check_share("distance_weight", self.distance_weight)
        check_share("angle_weight", self.angle_weight)

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss of each sample, (B,)."""
        found = self.distance_weight * relational_distance(student, teacher)
        return found + self.angle_weight * relational_angle(student, teacher) if self.angle_weight else found


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
