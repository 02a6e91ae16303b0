"""Samples on their way through one training step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass
class Batch:
    """What the networks are shown, and what is known about it.

    Attributes:
        inputs: network inputs (B, ...).
        targets: labels (B, ...), int64.
        tasks: task labels (B,), int64; None unless the model has a head for each and the benchmark has them.
        logits: stored with remembered samples (B, C), NaN for units that were inactive; None elsewhere.
        experiences: index of the experience of remembered samples (B,), with -1 for samples of the stream beside them;
            None where all are of the stream.
        samples: what a mean runs over; fewer than B where one sample goes through several heads.
        mixed_labels: labels (B, K) of the K samples that each one was mixed from; None where a view mixed none.
        mixed_shares: their shares (B, K), which sum to 1.
    """

    inputs: Tensor
    targets: Tensor
    tasks: Tensor | None
    logits: Tensor | None = None
    experiences: Tensor | None = None
    samples: int = 0
    mixed_labels: Tensor | None = None
    mixed_shares: Tensor | None = None

    def __post_init__(self) -> None:
        self.samples = self.samples or self.targets.shape[0]

    def probabilities(self, n_classes: int) -> Tensor | None:
        """Labels as probabilities (B, C) where a view mixed them, else None."""
        if self.mixed_labels is None or self.mixed_shares is None:
            return None
        return self.mixed_shares.new_zeros(len(self.mixed_labels), n_classes).scatter_add_(
            1, self.mixed_labels, self.mixed_shares
        )


View = Callable[[Batch, torch.Generator], Batch]
"""Changes what the networks are shown of a draw (mixes, augments); the generator is the memory's own."""


class JoinedBatch(Batch):
    """One batch after the other: inputs, targets, tasks and experiences, each joined when it is first looked at."""

    _batches: Sequence[Batch]

    @classmethod
    def of(cls, batches: Sequence[Batch]) -> JoinedBatch:
        """The rows of these batches, without their stored logits."""
        joined = cls.__new__(cls)
        joined._batches, joined.samples = batches, sum(batch.inputs.shape[0] for batch in batches)
        return joined

    @cached_property
    def inputs(self) -> Tensor:  # type: ignore[override]
        """Network inputs."""
        return torch.cat([batch.inputs for batch in self._batches])

    @cached_property
    def targets(self) -> Tensor:  # type: ignore[override]
        """Labels."""
        return torch.cat([batch.targets for batch in self._batches])

    @cached_property
    def tasks(self) -> Tensor | None:  # type: ignore[override]
        """Task labels, where all have them."""
        tasks = [batch.tasks for batch in self._batches if batch.tasks is not None]
        return torch.cat(tasks) if len(tasks) == len(self._batches) else None

    @cached_property
    def experiences(self) -> Tensor | None:  # type: ignore[override]
        """Indices of the experiences, -1 for rows of the stream; None where no row is remembered."""
        if all(batch.experiences is None for batch in self._batches):
            return None
        streams = (batch.targets.new_full(batch.inputs.shape[:1], -1) for batch in self._batches)
        pairs = zip(self._batches, streams, strict=True)
        return torch.cat([stream if batch.experiences is None else batch.experiences for batch, stream in pairs])


def join(batches: Sequence[Batch]) -> Batch:
    """One batch after the other (inputs, targets, tasks and experiences; not the stored logits)."""
    return batches[0] if len(batches) == 1 else JoinedBatch.of(batches)
