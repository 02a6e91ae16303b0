"""Symmetric distillation: the Kullback-Leibler divergence in both directions.

The second direction punishes probability where the teacher gives none (mode seeking).
"""

from __future__ import annotations

from torch import Tensor

from ckd.losses._kd import kd
from ckd.losses._masking import check_share


def symmetric_kl(
    student: Tensor, teacher: Tensor, *, balance: float = 1.0, temperature: float = 2.0, classes: Tensor | None = None
) -> Tensor:
    """T² · [KL(teacher ‖ student) + λ KL(student ‖ teacher)] of the softened probabilities.

    Args:
        student: logits (B, C).
        teacher: logits (B, C).
        balance: λ, 0 or more; 0 is `kd`, 1 is Jeffreys' divergence.
        temperature: T, above 0.
        classes: as in `kd`.

    Returns:
        (B,), in nats times T²; float32 for half-precision logits.

    Raises:
        ConfigError: λ is negative or not finite, or as in `kd`.

    Example:
        >>> import torch
        >>> from ckd.losses import symmetric_kl
        >>> student, teacher = torch.zeros(1, 2), torch.tensor([[0.75, 0.25]]).log()
        >>> symmetric_kl(student, teacher, temperature=1.0)
        tensor([0.2747])
    """
    check_share("balance", balance)
    forward = kd(student, teacher, temperature=temperature, classes=classes)
    return forward + balance * kd(teacher, student, temperature=temperature, classes=classes) if balance else forward
