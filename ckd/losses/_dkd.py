"""Decoupled distillation: the class of the label and the other classes are weighted apart.

Source: Zhao et al. 2022, Decoupled Knowledge Distillation, arXiv:2203.08679, eq. 7; the authors' code for T².
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ckd.losses._masking import check_same_shape, check_share, check_temperature, only
from ckd.outputs import full_precision


def dkd(
    student: Tensor,
    teacher: Tensor,
    *,
    labels: Tensor,
    target_weight: float = 1.0,
    other_weight: float = 8.0,
    temperature: float = 4.0,
    classes: Tensor | None = None,
) -> Tensor:
    """T² · [α KL(label's class against the rest) + β KL(among the other classes)], teacher first in each divergence.

    With α = 1 and β = 1 - p(label) of the teacher it is `kd`.

    Args:
        student: logits (B, C).
        teacher: logits (B, C).
        labels: class indices (B,).
        target_weight: α, 0 or more.
        other_weight: β, 0 or more.
        temperature: T, above 0.
        classes: bool (C,) or (B, C), the classes over which the softmaxes run; None means all. Logits of other classes
            are ignored, NaN too. Where a label is not among them, the first divergence is 0 and the second is over all
            of them.

    Returns:
        (B,), in nats times T²; float32 for half-precision logits.

    Raises:
        ConfigError: a weight is negative, T not above 0; student and teacher have different shapes, or are not (B, C).

    Example:
        >>> import torch
        >>> from ckd.losses import dkd
        >>> student, teacher = torch.zeros(1, 3), torch.tensor([[0.5, 0.4, 0.1]]).log()
        >>> dkd(student, teacher, labels=torch.tensor([0]), other_weight=0.5, temperature=1.0)  # p(label) is 0.5: kd
        tensor([0.1553])
        >>> dkd(student, teacher, labels=torch.tensor([0]), other_weight=0.0, temperature=1.0)
        tensor([0.0589])
    """
    check_share("target_weight", target_weight)
    check_share("other_weight", other_weight)
    check_temperature(temperature)
    check_same_shape(student, teacher)
    width = student.shape[1]
    of_label = labels[:, None] == torch.arange(width, device=labels.device)
    s, t = (only(full_precision(z) / temperature, classes) for z in (student, teacher))
    targets = others = s.new_zeros(len(s))
    known = of_label if classes is None else of_label & classes
    if target_weight:
        targets = _binary(s, t, known)
    if other_weight:
        others = _divergence(only(s, ~known), only(t, ~known))  # 0 over a single class
    return temperature**2 * (target_weight * targets + other_weight * others)


def _binary(student: Tensor, teacher: Tensor, known: Tensor) -> Tensor:
    """KL of (p(label), 1 - p(label)); 0 where no class is known or there is no other."""
    parts = []
    for logits in (student, teacher):
        log_p = F.log_softmax(logits, dim=-1)
        label = log_p.masked_fill(~known, torch.finfo(log_p.dtype).min).logsumexp(1)
        rest = log_p.masked_fill(known, torch.finfo(log_p.dtype).min).logsumexp(1)
        parts.append(torch.stack([label, rest], 1))
    there = known.any(1)
    s, t = (F.log_softmax(part.masked_fill(~there[:, None], 0), dim=-1) for part in parts)
    return (t.exp() * (t - s)).sum(-1)


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    log_p, log_q = F.log_softmax(student, dim=-1), F.log_softmax(teacher, dim=-1)
    return (log_q.exp() * (log_q - log_p)).sum(-1)
