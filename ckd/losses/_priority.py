"""Priority loss: some classes, as a rule those of the current experience, must beat all others by a margin.

Source: Boschini et al. 2022 (X-DER), arXiv:2201.00766, as in the authors' code. It keeps new samples from raising the
probabilities of old and future classes.
"""

from __future__ import annotations

from torch import Tensor

from ckd.outputs import full_precision


def priority(student: Tensor, _: Tensor, *, margin: float = 0.3, classes: Tensor | None = None) -> Tensor:
    """max(0, m + the highest probability outside `classes` - the highest inside), with margin m.

    The softmax runs over all classes. The highest probability outside counts as a constant, as in the authors' code: no
    gradient flows through it.

    Args:
        student: logits (B, C).
        _: labels, not used. Which of `classes` should win is left to another loss.
        margin: m, a difference of probabilities.
        classes: bool (C,) or (B, C), the classes that should win; None means all, which gives loss 0. Other classes are
            not ignored here, unlike in the other losses.

    Returns:
        (B,), from 0 to 1 + m; float32 for half-precision logits. 0 for a sample with all classes. A sample without any
        class has the loss m + its highest probability, and no gradient.

    Example:
        >>> import torch
        >>> from ckd.losses import priority
        >>> logits, labels = torch.tensor([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]]).log(), torch.tensor([2, 2])
        >>> priority(logits, labels, margin=0.3, classes=torch.tensor([False, False, True]))
        tensor([0.5000, 0.0000])
    """
    probabilities = full_precision(student).softmax(-1)
    if classes is None:
        return probabilities.sum(-1) * 0
    outside = probabilities.detach().masked_fill(classes, 0).amax(-1)
    inside = probabilities.masked_fill(~classes, 0).amax(-1)
    return (margin + outside - inside).clamp(min=0).masked_fill(classes.all(-1), 0)
