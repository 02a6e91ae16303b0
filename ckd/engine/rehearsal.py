"""What a step draws from memory: gathered and prepared together, a sample that several draws took only once.

Two draws of 128 from 200 samples have some 82 in common. To show the network each sample once saves 12 % of a step of
DER++ at that size on a CPU and nothing elsewhere (benchmarks/results/throughput.md); `Engine(unique=False)` switches it
off. It is the same sum, to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ckd.memory import Memory
from ckd.objective.batch import Batch, join
from ckd.objective.draws import Replay

Prepare = Callable[[Tensor, torch.Generator], Tensor]
"""Stored samples (B, ...) and a generator for augmentation, to network inputs."""


class ReplayBatch(Batch):
    """Remembered samples whose inputs are gathered when they are first looked at."""

    _inputs: Tensor | Callable[[], Tensor]

    @property
    def inputs(self) -> Tensor:
        """Network inputs (B, ...)."""
        if callable(self._inputs):
            self._inputs = self._inputs()
        return self._inputs

    @inputs.setter
    def inputs(self, value: Tensor | Callable[[], Tensor]) -> None:
        self._inputs = value


class Rehearsal:
    """The draws from memory of one step.

    Args:
        memory: with at least one sample.
        draws: all of this step; there may be none.
        plain: those that the student is shown as they are.
        n: samples in a draw.
        prepare: see `Prepare`.
        device: where everything goes.
        by_task: whether the batches have task labels.
        unique: whether a sample that several plain draws took is shown once.

    Attributes:
        batches: one for each draw.
    """

    def __init__(
        self,
        memory: Memory,
        draws: Sequence[Replay],
        plain: Sequence[Replay],
        n: int,
        *,
        prepare: Prepare,
        device: torch.device,
        by_task: bool,
        unique: bool,
    ) -> None:
        self._rows, self._generator, self._prepare, self._device = memory.rows, memory.generator, prepare, device
        self._by_task, self._plain = by_task, plain
        self._places: Tensor | None = None
        self._shared: Batch | None = None
        self.batches: dict[Replay, Batch] = {}
        if not draws:
            return
        slots = memory.draw(n, draws=len(draws))  # (draws · n,), on the CPU
        if unique and len(plain) > 1:
            own = dict(zip(draws, slots.chunk(len(draws)), strict=True))
            rows, places = unique_slots(torch.cat([own[draw] for draw in plain]), len(memory))
            self._places = places.to(device, non_blocking=True)
            self._shared = shared = self._batch(rows)
            where = dict(zip(plain, self._places.chunk(len(plain)), strict=True))
            self.batches = {
                draw: self._batch(own[draw], partial(shared.inputs.index_select, 0, where[draw]))
                if draw in where
                else self._batch(own[draw])
                for draw in draws
            }
        else:
            every = self._batch(slots)
            self.batches = dict(zip(draws, _chunks(every, len(draws)), strict=True))
            if len(plain) == len(draws):
                self._shared = every

    @property
    def shown(self) -> Batch:
        """What the student is shown for all plain draws together, M rows."""
        if self._shared is None:
            self._shared = join([self.batches[draw] for draw in self._plain])
        return self._shared

    def by_draw(self, outputs: Tensor) -> Sequence[Tensor]:
        """The student's outputs (M, ...) for `shown`, as one tensor (n, ...) for each plain draw."""
        every = outputs if self._places is None else outputs.index_select(0, self._places)
        return every.chunk(len(self._plain))

    def _batch(self, slots: Tensor, inputs: Callable[[], Tensor] | None = None) -> Batch:
        """The samples in these slots."""
        there = slots.to(self._rows.raw.device, non_blocking=True)
        columns = {
            name: column.index_select(0, there).to(self._device)
            for name, column in self._rows.items()
            if name != "raw" and (self._by_task or name != "tasks")
        }
        if inputs is None:
            raw = self._rows.raw.index_select(0, there).to(self._device)
            inputs = self._prepare(raw, self._generator)  # type: ignore[assignment]
        return ReplayBatch(
            inputs,  # type: ignore[arg-type]
            columns["targets"],
            columns.get("tasks"),
            columns.get("logits"),
            columns["experiences"],
        )


def _chunks(batch: Batch, n: int) -> list[Batch]:
    """The batch as `n` of equal size."""
    if n == 1:
        return [batch]
    columns = (batch.inputs, batch.targets, batch.tasks, batch.logits, batch.experiences)
    return [Batch(*parts) for parts in zip(*([None] * n if c is None else c.chunk(n) for c in columns), strict=True)]


def unique_slots(drawn: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Of slots (M,) below n the unique ones (U,) in ascending order, and which of them each is, (M,); on the CPU."""
    slots = drawn.numpy()
    taken = np.zeros(n, dtype=bool)
    taken[slots] = True
    return torch.from_numpy(taken.nonzero()[0]), torch.from_numpy((taken.cumsum() - 1)[slots])
