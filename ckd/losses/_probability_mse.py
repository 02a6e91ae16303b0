"""The mean squared difference of class probabilities: the Brier score of the student with the teacher as the truth."""

from __future__ import annotations

from torch import Tensor

from ckd.losses._masking import check_same_shape, check_temperature, only
from ckd.outputs import full_precision


def probability_mse(
    student: Tensor, teacher: Tensor, *, temperature: float = 1.0, classes: Tensor | None = None
) -> Tensor:
    """Mean over the classes of (softmax(student / T) - softmax(teacher / T))².

    Args:
        student: logits (B, C).
        teacher: logits (B, C).
        temperature: T, above 0.
        classes: bool (C,) or (B, C), the classes over which softmaxes and mean run; None means all. Logits of other
            classes are ignored, NaN too. A sample with a single class or none has loss 0.

    Returns:
        (B,), from 0 to 2 / C; float32 for half-precision logits.

    Raises:
        ConfigError: T is not a finite number above 0; student and teacher have different shapes, or are not (B, C).

    Example:
        >>> import torch
        >>> from ckd.losses import probability_mse
        >>> probability_mse(torch.zeros(1, 2), torch.tensor([[0.75, 0.25]]).log())
        tensor([0.0625])
    """
    check_temperature(temperature)
    check_same_shape(student, teacher)
    gap = _softened(student, temperature, classes) - _softened(teacher, temperature, classes)
    if classes is None:
        return gap.square().mean(-1)
    return gap.masked_fill(~classes, 0).square().sum(-1) / classes.sum(-1).clamp(min=1)


def _softened(logits: Tensor, temperature: float, classes: Tensor | None) -> Tensor:
    return only(full_precision(logits) / temperature, classes).softmax(-1)
