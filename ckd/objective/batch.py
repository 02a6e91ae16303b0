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

    def whole(self) -> Batch:
        """All columns at hand; itself unless some are gathered when they are looked at."""
        return self


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
    whole = parts[0]._base
    if whole is None:
        return torch.cat(parts)
    rows, width = 0, whole.stride(0)
    for part in parts:
        lies_next = part._base is whole and part.storage_offset() == whole.storage_offset() + rows * width
        if not lies_next or part.shape[1:] != whole.shape[1:] or not part.is_contiguous():
            return torch.cat(parts)
        rows += part.shape[0]
    return whole[:rows]
