"""Over which classes a loss runs: functions that return one mask for each softmax."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ckd.classes import ClassSet
from ckd.objective.batch import Batch
from ckd.objective.moment import Moment

Groups = Callable[[Moment, Batch, int], list[Tensor | None]]
"""(moment, batch, number of classes C) -> masks, bool (C,) or (B, C); None means every class."""


def all_classes(moment: Moment, batch: Batch, width: int) -> list[Tensor | None]:
    """One softmax over the whole head."""
    return [None]


def seen(moment: Moment, batch: Batch, width: int) -> list[Tensor | None]:
    """Classes met so far, the current ones included."""
    return [_mask(moment.classes.seen, batch, width)]


def old(moment: Moment, batch: Batch, width: int) -> list[Tensor | None]:
    """Classes of experiences that have ended."""
    return [_mask(moment.classes.old, batch, width)]


def current(moment: Moment, batch: Batch, width: int) -> list[Tensor | None]:
    """Classes of the experience that runs."""
    return [_mask(moment.classes.current, batch, width)]


def present(moment: Moment, batch: Batch, width: int) -> list[Tensor | None]:
    """Classes that occur in the batch (Caccia et al. 2022, arXiv:2104.05025)."""
    mask = torch.zeros(width, dtype=torch.bool, device=batch.targets.device)
    return [mask.index_fill_(0, batch.targets, True)]


def old_or_current(moment: Moment, batch: Batch, width: int) -> list[Tensor | None]:
    """For samples of a current class the current classes, for others the rest of those seen: no softmax over both.

    Ahn et al. 2021 (SS-IL), arXiv:2003.13947.
    """
    now, met = _mask(moment.classes.current, batch, width), _mask(moment.classes.seen, batch, width)
    if now is None:
        return [None]
    others = ~now if met is None else met & ~now
    is_current = now.expand(len(batch.targets), -1).gather(1, batch.targets[:, None])
    return [torch.where(is_current, now, others)]


def each_old_experience(moment: Moment, batch: Batch, width: int) -> list[Tensor | None]:
    """A softmax for every past experience, over the classes that it was the first to bring (task-wise, as in SS-IL)."""
    return [_mask(classes, batch, width) for classes in moment.classes.new_by_experience]


def _mask(classes: ClassSet, batch: Batch, width: int) -> Tensor | None:
    return classes.mask(width, batch.tasks, batch.targets.device)
