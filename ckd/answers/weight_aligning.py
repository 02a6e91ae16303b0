"""Weight aligning: the head's new weights are shortened to the length of the old ones.

Zhao et al. 2020, Maintaining Discrimination and Fairness in Class Incremental Learning, arXiv:1911.07053, eq. 7.
"""

from __future__ import annotations

import torch
from torch import nn

from ckd.answers.answer import refuse_heads_per_task
from ckd.classes import ClassSet
from ckd.part import Ending, Part
from ckd.taps import head_of


class WeightAligning(Part):
    """After an experience, multiplies the head's weights of new classes by γ = mean ‖w_old‖ / mean ‖w_new‖, in place.

    The student itself is changed, so its snapshot is too. Biases stay as they are.
    """

    needs_boundaries = True

    def __init__(self) -> None:
        self._old = ClassSet()

    def begin(self, model: nn.Module, seen: ClassSet) -> None:
        """Refuse a model with a head for each task."""
        refuse_heads_per_task("weight aligning", seen)

    def end(self, ending: Ending) -> None:
        """Align the classes that came with this experience."""
        old = self._old.indices
        new = [c for c in ending.taught.indices if c not in set(old)]
        self._old = ending.taught
        if old and new:
            align(head_of(ending.model).weight, old, new)


@torch.no_grad()
def align(weight: torch.Tensor, old: list[int], new: list[int]) -> None:
    """Rescale the rows `new` of `weight` (C, D), in place, to the mean length of the rows `old`."""
    lengths = weight.norm(dim=1)
    weight[new] *= lengths[old].mean() / lengths[new].mean()
