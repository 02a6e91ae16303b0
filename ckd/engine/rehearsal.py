"""What a step draws from memory: gathered and prepared together, a sample that several draws took only once.

Two draws of 128 from 200 samples have some 82 in common. To show the network each sample once saves 12 % of a step of
DER++ at that size on a CPU and nothing elsewhere (benchmarks/results/throughput.md); `Engine(unique=False)` switches it
off. It is the same sum, to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ckd.memory import Memory
from ckd.objective.batch import Batch, join
from ckd.objective.draws import Replay
from ckd.rows import Rows

Prepare = Callable[[Tensor, torch.Generator], Tensor]
"""Stored samples (B, ...) and a generator for augmentation, to network inputs."""


def _gathered_later(name: str) -> Any:
    """A column of a batch that may be given as a function, which is called when the column is first looked at."""
    hidden = f"_{name}"

    def get(batch: Batch) -> Any:
        value = batch.__dict__[hidden]
        if callable(value):
            value = batch.__dict__[hidden] = value()
        return value

    return property(get, lambda batch, value: batch.__dict__.__setitem__(hidden, value))


class ReplayBatch(Batch):
    """Remembered samples; a column is gathered when it is first looked at, as a step reads only some of them."""

    inputs, targets, tasks = map(_gathered_later, ("inputs", "targets", "tasks"))
    logits, experiences = map(_gathered_later, ("logits", "experiences"))


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
        if not (unique and len(plain) > 1):
            there = slots.to(memory.rows.raw.device, non_blocking=True)
            inputs = self._inputs(there).chunk(len(draws))
            found = zip(draws, there.chunk(len(draws)), inputs, strict=True)
            self.batches = {draw: self._batch(own, mine) for draw, own, mine in found}
            return
        stored = memory.rows.raw.device
        own = dict(zip(draws, slots.chunk(len(draws)), strict=True))
        drawn = slots if len(plain) == len(draws) else torch.cat([own[draw] for draw in plain])
        rows, places = (index.to(stored, non_blocking=True) for index in unique_slots(drawn, len(memory)))
        self._places = places
        where = dict(zip(plain, places.chunk(len(plain)), strict=True))
        once = self._inputs(rows)
        self._shared = self._batch(rows, once)
        self.batches = {}
        for draw, index in own.items():
            there = index.to(stored, non_blocking=True)
            gather = partial(once.index_select, 0, where[draw]) if draw in where else partial(self._inputs, there)
            self.batches[draw] = self._batch(there, gather)

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

    def _inputs(self, slots: Tensor) -> Tensor:
        return self._prepare(self._rows.raw.index_select(0, slots).to(self._device), self._generator)

    def _batch(self, slots: Tensor, inputs: Tensor | Callable[[], Tensor]) -> Batch:
        """The samples in these slots, which lie on the memory's device."""
        rows, later = self._rows, partial(_column, self._rows, slots, self._device)
        return ReplayBatch(
            inputs,  # type: ignore[arg-type]
            partial(later, "targets"),  # type: ignore[arg-type]
            partial(later, "tasks") if self._by_task else None,  # type: ignore[arg-type]
            None if rows.logits is None else partial(later, "logits"),  # type: ignore[arg-type]
            partial(later, "experiences"),  # type: ignore[arg-type]
            samples=slots.shape[0],
        )


def _column(rows: Rows, slots: Tensor, device: torch.device, name: str) -> Tensor:
    column: Tensor = getattr(rows, name)
    return column.index_select(0, slots).to(device)


def unique_slots(drawn: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Of slots (M,) below n the unique ones (U,) in ascending order, and which of them each is, (M,); on the CPU.

    25 µs for two draws of 128 from 200, where np.unique takes 42 and torch.unique 35.
    """
    slots = drawn.numpy()
    taken = np.zeros(n, dtype=bool)
    taken[slots] = True
    return torch.from_numpy(taken.nonzero()[0]), torch.from_numpy((taken.cumsum() - 1)[slots])
