"""Weight aligning: the head's new weights are shortened to the length of the old ones.

Zhao et al. 2020, Maintaining Discrimination and Fairness in Class Incremental Learning, arXiv:1911.07053, eq. 7.
"""

from __future__ import annotations

import torch
from torch import nn

from ckd.classes import Classes
from ckd.outputs import head_at
from ckd.part import Ending, Part, refuse_heads_per_task


class WeightAligning(Part):
    """After an experience, multiplies the head's weights of new classes by γ = mean ‖w_old‖ / mean ‖w_new‖, in place.

    The student itself is changed, so its snapshot is too. Biases stay as they are.
    """

    needs_boundaries = True
    needs_head = True

    def begin(self, model: nn.Module, classes: Classes) -> None:
        """Refuse a model with a head for each task."""
        refuse_heads_per_task("weight aligning", classes.seen)

    def end(self, ending: Ending) -> None:
        """Align the classes that came with this experience."""
        old, new = ending.classes.old.indices, ending.classes.new.indices
        if old and new:
            align(head_at(ending.model, ending.head).weight, old, new)


@torch.no_grad()
def align(weight: torch.Tensor, old: list[int], new: list[int]) -> None:
    """Rescale the rows `new` of `weight` (C, D), in place, to the mean length of the rows `old`."""
    lengths = weight.norm(dim=1)
    weight[new] *= lengths[old].mean() / lengths[new].mean()
