"""Knowledge review: feature maps that agree at several resolutions.

Source: Chen et al. 2021, Distilling Knowledge via Knowledge Review, arXiv:2104.09044, its hierarchical context loss
(HCL) with the weights of the authors' code, https://github.com/dvlab-research/ReviewKD.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ckd.errors import ConfigError
from ckd.losses._features import same_shape
from ckd.outputs import full_precision

Maps = Tensor | tuple[Tensor, ...]


def hierarchical_context(student: Maps, target: Maps) -> Tensor:
    """Σ over layers of the weighted mean of squared differences of maps, and of maps averaged to 4², 2² and 1 places.

    Weights are 1 for the maps as they are and 1/2, 1/4, 1/8 for the averages, over their sum. Averages that are not
    smaller than a layer's maps are left out of both, with the next one taking the weight.

    Args:
        student: feature maps (B, C, H, W) or vectors (B, D), or a tuple with those of several layers.
        target: the same of the teacher, of the same shapes; `ckd.objective.Fusion` maps the student's to them.

    Returns:
        (B,), in squared features; float32 for half-precision features. The authors weight it with 0.6 to 8 and raise
        that from 0 over 20 epochs.

    Raises:
        ConfigError: other numbers of layers, or other shapes.

    Example:
        >>> import torch
        >>> from ckd.losses import hierarchical_context
        >>> zero = torch.zeros(1, 1, 2, 2)
        >>> hierarchical_context(torch.tensor([[[[1.0, -1.0], [1.0, -1.0]]]]), zero)  # whose mean is 0
        tensor([0.6667])
        >>> hierarchical_context((zero + 1, zero + 2), (zero, zero))
        tensor([5.])
    """
    ours, theirs = (x if isinstance(x, tuple) else (x,) for x in (student, target))
    if len(ours) != len(theirs) or not ours:
        raise ConfigError(
            "layers to compare",
            expected=f"as many as of the target, {len(theirs)}",
            received=f"{len(ours)} of the student",
            fix="Tap as many modules of both networks.",
        )
    found = _of_layer(ours[0], theirs[0])
    for s, t in zip(ours[1:], theirs[1:], strict=True):
        found = found + _of_layer(s, t)
    return found


def _of_layer(student: Tensor, target: Tensor) -> Tensor:
    same_shape(student, target)
    gap = full_precision(student) - full_precision(target)  # averages are linear
    value = gap.square().flatten(1).mean(1)
    weight = total = 1.0
    for size in (4, 2, 1):
        if gap.dim() == 4 and size < gap.shape[2]:
            weight /= 2
            total += weight
            value = value + weight * F.adaptive_avg_pool2d(gap, size).square().flatten(1).mean(1)
    return value / total
