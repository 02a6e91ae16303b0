"""Binary cross entropy: every class is asked for on its own.

Rebuffi et al. 2017 (iCaRL), arXiv:1611.07725, algorithm 3: labels for the new classes, the old network's answers for
the old ones.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ckd.losses._masking import check_same_shape, full_precision


def binary_cross_entropy(student: Tensor, target: Tensor, *, classes: Tensor | None = None) -> Tensor:
    """-Σ_c target_c log σ(student_c) + (1 - target_c) log(1 - σ(student_c)) of every sample.

    Args:
        student: logits (B, C).
        target: probabilities (B, C) in [0, 1], each class on its own.
        classes: bool (C,) or (B, C), the classes that are summed over; None means all.

    Returns:
        (B,), in nats. float32 for half precision input.

    Raises:
        ConfigError: shapes that differ.
    """
    check_same_shape(student, target)
    student, target = full_precision(student), full_precision(target)
    if classes is None:
        return F.binary_cross_entropy_with_logits(student, target, reduction="none").sum(-1)
    student, target = student.masked_fill(~classes, 0), target.masked_fill(~classes, 0)
    per_class = F.binary_cross_entropy_with_logits(student, target, reduction="none")
    return per_class.masked_fill(~classes, 0).sum(-1)
