"""Knowledge distillation: the student matches the teacher's class probabilities, softened by a temperature.

Source: Hinton, Vinyals & Dean 2015, Distilling the Knowledge in a Neural Network, arXiv:1503.02531, section 2.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ckd.losses._masking import check_same_shape, check_temperature, only
from ckd.outputs import full_precision


def kd(student: Tensor, teacher: Tensor, *, temperature: float = 2.0, classes: Tensor | None = None) -> Tensor:
    """T² · KL(softmax(teacher / T) ‖ softmax(student / T)), with temperature T.

    The factor T² keeps the size of the gradient comparable over temperatures.

    Args:
        student: logits (B, C).
        teacher: logits (B, C). Gradients flow into them too if they require any.
        temperature: T, above 0. The higher, the softer both predictions.
        classes: bool (C,) or (B, C), the classes over which both softmaxes run; None means all. Logits of other classes
            are ignored, NaN too. A sample without any class has loss 0. For a sample with a single class, whose softmax
            would be constant, the probabilities are σ(logit / T) and 1 - σ(logit / T) instead.

    Returns:
        (B,), in nats times T²; float32 for half-precision logits. 0 or more, up to rounding, which T² magnifies.

    Raises:
        ConfigError: T is not a finite number above 0; student and teacher have different shapes, or are not (B, C).

    Example:
        >>> import torch
        >>> from ckd.losses import kd
        >>> student, teacher = torch.zeros(1, 2), torch.tensor([[0.75, 0.25]]).log()
        >>> kd(student, teacher, temperature=1.0)
        tensor([0.1308])
        >>> kd(student, teacher, temperature=2.0)
        tensor([0.1454])
        >>> kd(teacher, teacher)
        tensor([0.])
    """
    log_p_student, log_p_teacher = _log_softmaxes(student, teacher, temperature, classes)
    per_class = log_p_teacher.exp() * (log_p_teacher - log_p_student)
    return per_class.sum(-1) * temperature**2


def soft_cross_entropy(
    student: Tensor, teacher: Tensor, *, temperature: float = 2.0, classes: Tensor | None = None
) -> Tensor:
    """-T² · Σ_c softmax(teacher / T)_c log softmax(student / T)_c, with temperature T.

    This is `kd` plus T² times the entropy of the teacher's softened probabilities, so the gradient with respect to the
    student is that of `kd` (Hinton et al. 2015, arXiv:1503.02531, section 2).

    Args:
        student: logits (B, C).
        teacher: logits (B, C). Gradients flow into them too if they require any.
        temperature: as in `kd`.
        classes: as in `kd`.

    Returns:
        (B,), in nats times T²; float32 for half-precision logits. Where student and teacher agree it is T² times that
        entropy, not 0.

    Raises:
        ConfigError: as in `kd`.

    Example:
        >>> import torch
        >>> from ckd.losses import soft_cross_entropy
        >>> student, teacher = torch.zeros(1, 2), torch.tensor([[0.75, 0.25]]).log()
        >>> soft_cross_entropy(student, teacher, temperature=1.0)
        tensor([0.6931])
        >>> soft_cross_entropy(teacher, teacher, temperature=1.0)
        tensor([0.5623])
    """
    log_p_student, log_p_teacher = _log_softmaxes(student, teacher, temperature, classes)
    losses = -(log_p_teacher.exp() * log_p_student).sum(-1) * temperature**2
    return losses if classes is None else losses.masked_fill(~classes.any(-1), 0)


def _log_softmaxes(
    student: Tensor, teacher: Tensor, temperature: float, classes: Tensor | None
) -> tuple[Tensor, Tensor]:
    check_temperature(temperature)
    check_same_shape(student, teacher)
    student, teacher = full_precision(student) / temperature, full_precision(teacher) / temperature
    # after the division, so that the lowest value stays finite
    student, teacher = only(student, classes), only(teacher, classes)
    lone = _lone_class(student, classes)
    if lone is not None:
        student, teacher = torch.cat([student, lone], 1), torch.cat([teacher, lone], 1)
    return F.log_softmax(student, dim=-1), F.log_softmax(teacher, dim=-1)


def _lone_class(logits: Tensor, classes: Tensor | None) -> Tensor | None:
    """A further logit (B, 1): zero beside a lone class, out of the softmax elsewhere; None if not needed."""
    if classes is None:
        return logits.new_zeros(len(logits), 1) if logits.shape[1] == 1 else None
    lone = classes.sum(-1, keepdim=True) == 1  # (1,) or (B, 1)
    lowest = torch.finfo(logits.dtype).min
    return logits.new_zeros(lone.shape).masked_fill(~lone, lowest).expand(len(logits), 1)
