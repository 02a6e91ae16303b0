"""A margin by which the classes of the moment must win over all others.

Boschini et al. 2022 (X-DER), arXiv:2201.00766, as in the authors' code: keeps new samples from raising old and future
classes.
"""

from __future__ import annotations

from torch import Tensor

from ckd.losses._masking import full_precision


def priority(student: Tensor, _: Tensor, *, margin: float = 0.3, classes: Tensor | None = None) -> Tensor:
    """max(0, margin + the highest probability outside `classes` - the highest inside), the softmax over all.

    Args:
        student: logits (B, C).
        _: labels, not used: which of `classes` wins is another term's business.
        margin: m, a difference of probabilities.
        classes: bool (C,) or (B, C), those that should win; None means all, where there is nothing to win.

    Returns:
        (B,), from 0 to 1 + margin; 0 where every class should win. The highest probability outside is a constant, as in
        the paper's code. float32 for half precision input.
    """
    probabilities = full_precision(student).softmax(-1)
    if classes is None:
        return probabilities.sum(-1) * 0
    outside = probabilities.detach().masked_fill(classes, 0).amax(-1)
    inside = probabilities.masked_fill(~classes, 0).amax(-1)
    return (margin + outside - inside).clamp(min=0).masked_fill(classes.all(-1), 0)
