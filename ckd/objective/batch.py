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
        tasks: task labels (B,), int64; None where the benchmark has none.
        logits: answers (B, C) stored with remembered samples, NaN where no unit was live; None elsewhere.
        experiences: index of the experience of remembered samples (B,); None elsewhere.
        samples: what a mean runs over; fewer than B where one sample is asked about several heads.
    """

    inputs: Tensor
    targets: Tensor
    tasks: Tensor | None
    logits: Tensor | None = None
    experiences: Tensor | None = None
    samples: int = 0

    def __post_init__(self) -> None:
        self.samples = self.samples or len(self.targets)


def join(batches: list[Batch]) -> Batch:
    """One batch after the other (inputs, targets and tasks; not the stored logits)."""
    if len(batches) == 1:
        return batches[0]
    tasks = [b.tasks for b in batches if b.tasks is not None]
    return Batch(
        torch.cat([b.inputs for b in batches]),
        torch.cat([b.targets for b in batches]),
        torch.cat(tasks) if len(tasks) == len(batches) else None,
    )
