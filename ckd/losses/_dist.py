"""DIST: probabilities that correlate, over the classes of a sample and over the samples of a class.

Source: Huang et al. 2022, Knowledge Distillation from A Stronger Teacher, arXiv:2205.10536, eq. 9 and 10.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ckd.losses._masking import check_same_shape, check_share, check_temperature, only
from ckd.outputs import full_precision


def dist(
    student: Tensor,
    teacher: Tensor,
    *,
    sample_weight: float = 2.0,
    class_weight: float = 2.0,
    temperature: float = 4.0,
    classes: Tensor | None = None,
) -> Tensor:
    """T² · [β (1 - ρ over classes, of this sample) + γ · mean over classes of (1 - ρ over samples)], Pearson's ρ.

    The second part compares the whole batch: it is the same for every sample. Probabilities are softened by T.

    Args:
        student: logits (B, C).
        teacher: logits (B, C).
        sample_weight: β, 0 or more.
        class_weight: γ, 0 or more.
        temperature: T, above 0. 4 with β = γ = 2 is the authors' setting for CIFAR-100, 1 with 1 and 1 for ImageNet.
        classes: bool (C,) or (B, C), the classes over which the softmaxes run; None means all. Logits of other classes
            are ignored, NaN too. Where fewer than two values are left, or they are constant, ρ counts as 1.

    Returns:
        (B,), from 0 to 2 T² (β + γ); float32 for half-precision logits.

    Raises:
        ConfigError: a weight is negative, T not above 0; student and teacher have different shapes, or are not (B, C).

    Example:
        >>> import torch
        >>> from ckd.losses import dist
        >>> teacher = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 3.0]])
        >>> dist(teacher + 5.0, teacher).abs() < 1e-5
        tensor([True, True])
        >>> dist(teacher.flip(0), teacher, temperature=1.0)
        tensor([7.5260, 7.5260])
    """
    check_share("sample_weight", sample_weight)
    check_share("class_weight", class_weight)
    check_temperature(temperature)
    check_same_shape(student, teacher)
    p, q = (only(full_precision(z) / temperature, classes).softmax(-1) for z in (student, teacher))
    there = torch.ones_like(p, dtype=torch.bool) if classes is None else classes.expand_as(p)
    of_sample = 1 - _correlation(p, q, there, 1)
    of_class = 1 - _correlation(p, q, there, 0)
    some = there.any(0)
    batch = of_class.masked_fill(~some, 0).sum() / some.sum().clamp(min=1)
    return temperature**2 * (sample_weight * of_sample + class_weight * batch)


def _correlation(one: Tensor, other: Tensor, there: Tensor, axis: int) -> Tensor:
    """Pearson's correlation along `axis`, over the entries that are `there`."""
    n = there.sum(axis, keepdim=True).clamp(min=1)
    a, b = (x.masked_fill(~there, 0) for x in (one, other))
    a, b = ((x - x.sum(axis, keepdim=True) / n).masked_fill(~there, 0) for x in (a, b))
    varied = (a.square().sum(axis) > 0) & (b.square().sum(axis) > 0)
    shape = varied.unsqueeze(axis)
    a, b = (torch.where(shape, x, torch.ones_like(x)) for x in (a, b))  # no root of 0, whose gradient is infinite
    found = (a * b).sum(axis) / (a.square().sum(axis).sqrt() * b.square().sum(axis).sqrt())
    return torch.where(varied, found, torch.ones_like(found))
