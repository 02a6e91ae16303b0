"""Standardised logits: student and teacher need only agree in shape, not in mean and scale.

Source: Sun et al. 2024, Logit Standardization in Knowledge Distillation, arXiv:2403.01427, eq. 9.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ckd.losses._labelled import takes_labels
from ckd.losses._masking import check_same_shape
from ckd.outputs import full_precision

EPSILON = 1e-7
"""Added to the deviation, as in the authors' code."""


@dataclass(frozen=True)
class Standardised:
    """A loss of logits on z ← (z - mean) / (deviation + 1e-7), of each sample, for student and teacher.

    Mean and deviation (with n - 1) are over the classes that the loss runs over. The authors have `kd` with T 2,
    weighted 9, beside 0.1 times cross entropy.

    Args:
        loss: of student and teacher logits (B, C), such as `kd`.

    Example:
        >>> import torch
        >>> from ckd.losses import Standardised, kd
        >>> teacher = torch.tensor([[4.0, 2.0, 0.0]])
        >>> Standardised(kd)(3 * teacher + 1, teacher).abs() < 1e-6
        tensor([True])
    """

    loss: Callable[..., Tensor]

    @property
    def takes_labels(self) -> bool:
        """Whether the loss wants labels too."""
        return takes_labels(self.loss)

    def __call__(self, student: Tensor, teacher: Tensor, *, classes: Tensor | None = None, **labels: Tensor) -> Tensor:
        """The loss of each sample, (B,)."""
        check_same_shape(student, teacher)
        return self.loss(standardised(student, classes), standardised(teacher, classes), classes=classes, **labels)


def standardised(logits: Tensor, classes: Tensor | None = None) -> Tensor:
    """(z - mean) / (deviation + 1e-7) of each sample, (B, C), over `classes`, bool (C,) or (B, C); 0 elsewhere.

    Example:
        >>> import torch
        >>> from ckd.losses import standardised
        >>> standardised(torch.tensor([[4.0, 2.0, 0.0]]))
        tensor([[ 1.,  0., -1.]])
    """
    logits = full_precision(logits)
    there = torch.ones_like(logits, dtype=torch.bool) if classes is None else classes.expand_as(logits)
    n = there.sum(1, keepdim=True)
    inside = logits.masked_fill(~there, 0)
    gap = (inside - inside.sum(1, keepdim=True) / n.clamp(min=1)).masked_fill(~there, 0)
    squares = gap.square().sum(1, keepdim=True)
    constant = squares == 0
    deviation = (squares.masked_fill(constant, 1) / (n - 1).clamp(min=1)).sqrt().masked_fill(constant, 1)
    return gap / (deviation + EPSILON)
