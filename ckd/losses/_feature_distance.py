"""Feature distillation: the Euclidean distance between the features of student and teacher.

Source: Gu, Shim & Shkurti 2023 (BFP), arXiv:2303.14595, eq. 4. The distance is not squared, as in the authors' code,
which divides it by √D besides.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ckd.losses._features import same_shape
from ckd.outputs import full_precision


def feature_distance(student: Tensor, target: Tensor, *, root_mean_square: bool = False) -> Tensor:
    """‖student - target‖₂ of each sample, its features flattened to one vector of D.

    The gradient is 0 where the two are equal.

    Args:
        student: features (B, ...), for example (B, D) or (B, C, H, W).
        target: features of the same shape.
        root_mean_square: divide by √D, so that a wider layer has no larger distance.

    Returns:
        (B,), in the unit of the features; float32 for half-precision features.

    Raises:
        ConfigError: student and target have different shapes.

    Example:
        >>> import torch
        >>> from ckd.losses import feature_distance
        >>> feature_distance(torch.tensor([[3.0, 4.0], [1.0, 1.0]]), torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
        tensor([5., 0.])
        >>> feature_distance(torch.ones(2, 4, 3, 3), torch.zeros(2, 4, 3, 3))
        tensor([6., 6.])
        >>> feature_distance(torch.ones(2, 4, 3, 3), torch.zeros(2, 4, 3, 3), root_mean_square=True)
        tensor([1., 1.])
    """
    same_shape(student, target)
    gap = (full_precision(student) - full_precision(target)).flatten(1)
    distance: Tensor = torch.linalg.vector_norm(gap, dim=-1)
    return distance / gap.shape[1] ** 0.5 if root_mean_square else distance
