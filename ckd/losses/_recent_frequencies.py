"""Cross entropy with logits adjusted for how frequent each class was in the last batches.

Huang et al. 2024 (ER-LAS), arXiv:2311.06460, estimate the class prior of a stream in a sliding window. Here old batches
fade instead of leaving, so that one count a class is all that is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ckd.classes import Classes, ClassSet
from ckd.errors import ConfigError
from ckd.losses._logit_adjusted import check_strength, count_classes, logit_adjusted_cross_entropy
from ckd.part import Part, tensor_bytes


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
        counts = count_classes(targets, student.shape[1]).to(torch.float32)
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
