"""Similarity-preserving distillation: which samples of a batch excite the network alike.

Source: Tung & Mori 2019, Similarity-Preserving Knowledge Distillation, arXiv:1907.09682, eq. 4.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ckd.losses._features import same_batch
from ckd.outputs import full_precision


def similarity(student: Tensor, teacher: Tensor) -> Tensor:
    """Σ over j of (g_ij(student) - g_ij(teacher))² / B, with g the features' inner products, each row of length 1.

    Rotation and scale of all features change nothing, and their number may differ.

    Args:
        student: features (B, ...), flattened to vectors.
        teacher: features (B, ...).

    Returns:
        (B,), whose mean is ‖G(student) - G(teacher)‖² / B²; float32 for half-precision features. The authors weight it
        with 3,000.

    Raises:
        ConfigError: other numbers of samples.

    Example:
        >>> import torch
        >>> from ckd.losses import similarity
        >>> teacher = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> similarity(3 * teacher, teacher)
        tensor([0., 0.])
        >>> similarity(torch.ones(2, 5), teacher)
        tensor([0.2929, 0.2929])
    """
    same_batch(student, teacher)
    gap = _gram(student) - _gram(teacher)
    return gap.square().sum(1) / len(gap)


def _gram(features: Tensor) -> Tensor:
    x = full_precision(features).flatten(1)
    return F.normalize(x @ x.T)
