"""Attention transfer: the student looks where the teacher looks.

Source: Zagoruyko & Komodakis 2017, Paying More Attention to Attention, arXiv:1612.03928, eq. 2; the mean over places
and the mean over channels are the authors' code.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ckd.errors import ConfigError
from ckd.outputs import full_precision


def attention(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over places of (a(student) - a(teacher))², where a is the mean over channels of f², of length 1.

    Numbers of channels may differ. Where heights or widths do, the larger map is averaged down to the smaller.

    Args:
        student: feature maps (B, C, H, W), or (B, C, L).
        teacher: feature maps (B, C', H', W'), or (B, C', L').

    Returns:
        (B,), from 0 to 2 / places; float32 for half-precision features. The authors weight it with 1,000.

    Raises:
        ConfigError: features that are no maps, or of another number of axes.

    Example:
        >>> import torch
        >>> from ckd.losses import attention
        >>> attention(torch.ones(1, 3, 2, 2), torch.ones(1, 8, 4, 4))
        tensor([0.])
        >>> attention(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]]))
        tensor([1.])
    """
    if student.dim() != teacher.dim() or student.dim() not in (3, 4) or len(student) != len(teacher):
        raise ConfigError(
            "feature maps to compare",
            expected=f"two of shape (batch, channels, places...), the teacher's is {tuple(teacher.shape)}",
            received=f"student features of shape {tuple(student.shape)}",
            fix="Tap a convolutional layer of each network.",
        )
    s, t = (full_precision(f).square().mean(1, keepdim=True) for f in (student, teacher))
    size = [min(a, b) for a, b in zip(s.shape[2:], t.shape[2:], strict=True)]
    pool = F.adaptive_avg_pool2d if s.dim() == 4 else F.adaptive_avg_pool1d
    s, t = (f if list(f.shape[2:]) == size else pool(f, size) for f in (s, t))  # type: ignore[arg-type]
    return (F.normalize(s.flatten(1)) - F.normalize(t.flatten(1))).square().mean(1)
