"""Which other sample each one is mixed with: functions of a batch that return the row of each sample's partner, (B,).

A sample is its own partner only where it is alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ckd.objective.batch import Batch

Partners = Callable[[Batch, torch.Generator], Tensor]


def anyone(batch: Batch, generator: torch.Generator) -> Tensor:
    """Any other sample of the batch."""
    return within(torch.zeros_like(batch.targets), generator)


def same_experience(batch: Batch, generator: torch.Generator) -> Tensor:
    """Another sample of the same experience; the stream's samples are all of one, and mixed with each other only."""
    return anyone(batch, generator) if batch.experiences is None else within(batch.experiences, generator)


def same_class(batch: Batch, generator: torch.Generator) -> Tensor:
    """Another sample of the same experience and class."""
    groups = batch.targets if batch.experiences is None else batch.experiences * 2**32 + batch.targets
    return within(groups, generator)


def within(groups: Tensor, generator: torch.Generator) -> Tensor:
    """For each of the keys `groups` (B,) the row of another with the same key, each equally likely; (B,)."""
    alike = groups[:, None] == groups  # (B, B)
    lots = torch.rand(alike.shape, generator=generator).to(groups.device, non_blocking=True)
    lots.masked_fill_(~alike, -1.0).fill_diagonal_(-0.5)  # oneself before a stranger, after anyone alike
    return lots.argmax(1)
