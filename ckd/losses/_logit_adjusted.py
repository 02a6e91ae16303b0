"""Cross entropy with logit adjustment, for training on classes of unequal frequency.

Source: Menon et al. 2021, Long-tail Learning via Logit Adjustment, arXiv:2007.07314, eq. 10. Counting the classes in
the batch itself: Huang et al. 2024 (ER-LAS), arXiv:2311.06460, with a window of one batch. Longer windows slide there;
`LogitAdjusted` lets old batches fade, so that one count a class is all that is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ckd.classes import Classes, ClassSet
from ckd.errors import ConfigError, DataError
from ckd.losses._cross_entropy import cross_entropy
from ckd.outputs import full_precision
from ckd.part import Part, tensor_bytes


def logit_adjusted_cross_entropy(
    student: Tensor,
    targets: Tensor,
    *,
    strength: float = 1.0,
    prior: Tensor | None = None,
    classes: Tensor | None = None,
) -> Tensor:
    """-log softmax(z + τ log π)_y, with logits z, label y, class frequencies π and strength τ.

    Args:
        student: logits (B, C).
        targets: labels (B,), int64.
        strength: τ, 0 or more. 1 is consistent for the balanced error; 0 is plain cross entropy over the classes with a
            frequency above 0.
        prior: π (C,), how often each class occurs in training: counts or shares, 0 or more. None counts the labels in
            `targets`. A class with frequency 0 is left out of the softmax, which is the limit of the formula.
        classes: bool (C,) or (B, C), restricts the softmax further; None means no further restriction. Logits of other
            classes are ignored, NaN too.

    Returns:
        (B,), in nats; float32 for half-precision logits. A sample whose class is left out has loss 0.

    Raises:
        ConfigError: τ is negative or not finite, or the prior does not have one number for each class.
        DataError: a label below 0 or above C - 1. Checked on the CPU only.

    Example:
        >>> import torch
        >>> from ckd.losses import logit_adjusted_cross_entropy
        >>> logits, labels = torch.zeros(4, 2), torch.tensor([0, 1, 1, 1])
        >>> logit_adjusted_cross_entropy(logits, labels)
        tensor([1.3863, 0.2877, 0.2877, 0.2877])
        >>> logit_adjusted_cross_entropy(logits, labels, prior=torch.tensor([500, 500]))
        tensor([0.6931, 0.6931, 0.6931, 0.6931])
    """
    check_strength(strength)
    student, width = full_precision(student), student.shape[1]
    if prior is None:
        prior = _counts(targets, width)
    elif prior.shape != (width,):
        raise ConfigError(
            "prior", expected=f"one number a class, ({width},)", received=tuple(prior.shape), fix="Count all classes."
        )
    prior = prior.to(student.device, torch.promote_types(prior.dtype, student.dtype))
    there = prior > 0
    offset = strength * torch.where(there, prior, 1).log().to(student.dtype)
    allowed = there if classes is None else there & classes
    return cross_entropy(student + offset, targets, classes=allowed)


class LogitAdjusted(Part):
    """`logit_adjusted_cross_entropy` whose prior is counted over the last batches: n ← (1 - 1/w) n + counts, window w.

    Counted in one small batch, most classes are absent or off by a factor; counted over several, a class that memory
    holds keeps its small share where it is not drawn. Counting starts anew when the classes of the experience change.

    Where classes have just come, the adjustment would let the network off learning them: frequent as they are, the loss
    is small. So its strength grows from there on, τ (1 - exp(-t / s)) after t batches.

    Args:
        strength: τ, 0 or more; 1 is consistent for the balanced error.
        window: w, in batches, 1 or more; 1 counts the batch itself alone.
        warm_up: s, in batches, 0 or more; 0 adjusts at full strength from the first batch on.

    Raises:
        ConfigError: a strength, window or warm-up outside its range.

    Example:
        >>> import torch
        >>> from ckd.losses import LogitAdjusted
        >>> loss, logits = LogitAdjusted(window=2, warm_up=0), torch.zeros(4, 2)
        >>> loss(logits, torch.tensor([0, 1, 1, 1]))
        tensor([1.3863, 0.2877, 0.2877, 0.2877])
        >>> loss(logits, torch.tensor([1, 1, 1, 1]))  # counts are now 0.5 and 5.5
        tensor([0.0870, 0.0870, 0.0870, 0.0870])
    """

    def __init__(self, strength: float = 1.0, *, window: float = 50, warm_up: float = 300) -> None:
        check_strength(strength)
        if not isinstance(window, int | float) or not 1 <= window < math.inf:
            raise ConfigError("window of the class frequencies", expected="1 or more", received=window, fix="Use 50.")
        if not isinstance(warm_up, int | float) or not 0 <= warm_up < math.inf:
            raise ConfigError("warm-up of the adjustment", expected="0 or more", received=warm_up, fix="Use 300.")
        self.strength, self.window, self.warm_up = strength, window, warm_up
        self._counts: Tensor | None = None
        self._batches = 0
        self._current = ClassSet()

    def __call__(self, student: Tensor, targets: Tensor, /, *, classes: Tensor | None = None) -> Tensor:
        """The loss of each sample, (B,), of logits (B, C) and labels (B,), which are counted."""
        counts = _counts(targets, student.shape[1]).to(torch.float32)
        if self._counts is not None:
            known = self._counts.to(counts.device)[: len(counts)]  # the head may have grown or be another one
            counts[: len(known)] += (1 - 1 / self.window) * known
        self._counts = counts
        self._batches += 1
        grown = 1 - math.exp(-self._batches / self.warm_up) if self.warm_up else 1.0
        strength = grown * self.strength
        return logit_adjusted_cross_entropy(student, targets, strength=strength, prior=counts, classes=classes)

    def begin(self, model: nn.Module, classes: Classes) -> None:
        """Count anew if other classes come."""
        if classes.current.by_task != self._current.by_task:
            self._counts, self._batches, self._current = None, 0, classes.current

    def state_dict(self) -> dict[str, Any]:
        """The counts, of how many batches they are, and the classes of the experience."""
        counts = None if self._counts is None else self._counts.clone()
        return {"counts": counts, "batches": self._batches, "current": self._current.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], student: nn.Module) -> None:
        """Restore what `state_dict` returned."""
        self._counts, self._batches = state["counts"], state["batches"]
        self._current = ClassSet.of_state(state["current"])

    def nbytes(self) -> dict[str, int]:
        """Bytes of the counts."""
        return {} if self._counts is None else {"class counts": tensor_bytes(self._counts)}


def check_strength(strength: float) -> None:
    """Check that the strength of a logit adjustment is a finite number, 0 or more.

    Raises:
        ConfigError: it is not.

    Example:
        >>> from ckd.losses import check_strength
        >>> check_strength(-1)
        Traceback (most recent call last):
        ckd.errors.ConfigError: strength of the adjustment: expected 0 or more; received -1. Use 1.
    """
    if not 0 <= strength < math.inf:
        raise ConfigError("strength of the adjustment", expected="0 or more", received=strength, fix="Use 1.")


def _counts(targets: Tensor, width: int) -> Tensor:
    """How often each of `width` classes occurs in `targets` (B,): (width,), of their dtype.

    Raises:
        DataError: a label below 0 or from `width` on. Checked on the CPU only.
    """
    try:
        return targets.new_zeros(width).scatter_add_(0, targets, torch.ones_like(targets))
    except RuntimeError as error:
        raise DataError(
            "labels",
            expected=f"class indices from 0 to {width - 1}, the width of the head",
            received=f"labels from {int(targets.min())} to {int(targets.max())}",
            fix="Widen the head or renumber the classes from 0.",
        ) from error
