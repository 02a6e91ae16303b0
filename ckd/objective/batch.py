"""Samples on their way through one training step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Batch:
    """What the network sees, and what is known about it.

    Attributes:
        inputs: network inputs (B, ...).
        targets: labels (B,), int64.
        tasks: task labels (B,), int64; None unless the model has a head for each and the benchmark tells them.
        logits: answers (B, C) stored with remembered samples, NaN where no unit was live; None elsewhere.
        experiences: index of the experience of remembered samples (B,); None elsewhere.
        samples: what a mean runs over; fewer than B where one sample is asked about several heads.
        room: rows (R, ...) behind the inputs in the same memory, free to be written; None where there are none.
    """

    inputs: Tensor
    targets: Tensor
    tasks: Tensor | None
    logits: Tensor | None = None
    experiences: Tensor | None = None
    samples: int = 0
    room: Tensor | None = None

    def __post_init__(self) -> None:
        self.samples = self.samples or self.targets.shape[0]

    def chunk(self, n: int) -> list[Batch]:
        """`n` batches of equal size, one after the other."""
        columns = (self.inputs, self.targets, self.tasks, self.logits, self.experiences)
        parts = [[None] * n if column is None else column.chunk(n) for column in columns]
        return [Batch(*part) for part in zip(*parts, strict=True)]


def join(batches: list[Batch]) -> Batch:
    """One batch after the other (inputs, targets and tasks; not the stored logits)."""
    if len(batches) == 1:
        return batches[0]
    tasks = [b.tasks for b in batches if b.tasks is not None]
    return Batch(
        _together([b.inputs for b in batches]),
        torch.cat([b.targets for b in batches]),
        torch.cat(tasks) if len(tasks) == len(batches) else None,
    )


def _together(parts: list[Tensor]) -> Tensor:
    """One after the other: the memory that they are in where they lie in it so, from its beginning, else a copy."""
    whole, end = parts[0]._base, 0
    if whole is None:
        return torch.cat(parts)
    for part in parts:
        if part._base is not whole or part.storage_offset() != whole.storage_offset() + end:
            return torch.cat(parts)
        end += part.numel()
    return whole[: sum(part.shape[0] for part in parts)]
