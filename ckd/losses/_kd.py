"""Knowledge distillation: the Kullback-Leibler divergence between softened answers.

Hinton, Vinyals & Dean, Distilling the Knowledge in a Neural Network, 2015, arXiv:1503.02531, section 2.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ckd.losses._masking import check_same_shape, check_temperature, full_precision, only


def kd(student: Tensor, teacher: Tensor, *, temperature: float = 2.0, classes: Tensor | None = None) -> Tensor:
    """T² · KL(softmax(teacher / T) ‖ softmax(student / T)) of every sample.

    Args:
        student: logits (B, C).
        teacher: logits (B, C); not differentiated unless it requires a gradient.
        temperature: T > 0. The factor T² keeps the gradient's size comparable over temperatures.
        classes: bool (C,) or (B, C), the classes over which the softmax runs; None means all. A row with a
            single class is compared as a Bernoulli answer (the class against a logit of zero), because a softmax
            over one class is constant and would teach nothing.

    Returns:
        (B,) values, in nats times T², not below zero but for rounding. float32 for half precision input.

    Raises:
        ConfigError: temperature not above 0, or shapes that differ.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[1.0, 2.0, 3.0]])
        >>> kd(logits, logits + 5.0)
        tensor([0.])
    """
    log_p_student, log_p_teacher = _log_softmaxes(student, teacher, temperature, classes)
    per_class = log_p_teacher.exp() * (log_p_teacher - log_p_student)
    return per_class.sum(-1) * temperature**2


def soft_cross_entropy(
    student: Tensor, teacher: Tensor, *, temperature: float = 2.0, classes: Tensor | None = None
) -> Tensor:
    """-T² · Σ_c softmax(teacher / T)_c · log softmax(student / T)_c of every sample, shape (B,).

    Arguments and errors are those of `kd`; the gradient with respect to the student is the same, the
    value larger by T² times the teacher's entropy (Hinton et al. 2015, arXiv:1503.02531, eq. 1).
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
    student, teacher = (
        only(student, classes),
        only(teacher, classes),
    )  # after the division: the floor stays finite
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
