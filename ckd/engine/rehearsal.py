"""What a step draws from memory: gathered and prepared together, a sample that several draws took only once.

Two draws of 128 from 200 samples have some 82 in common. To show the network each sample once saves 12 % of a step of
DER++ at that size on a CPU and nothing elsewhere (benchmarks/results/throughput.md); `Engine(unique=False)` switches it
off. It is the same sum, to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from ckd.devices import on
from ckd.memory import Memory
from ckd.objective.batch import Batch, join
from ckd.objective.draws import Replay
from ckd.rows import Rows

Prepare = Callable[[Tensor, torch.Generator], Tensor]
"""Stored samples (B, ...) and a generator for augmentation, to network inputs."""


class ReplayBatch(Batch):
    """Remembered samples; a column is gathered when it is first looked at, as a step reads only some of them."""

    _rows: Rows
    _slots: Tensor
    _device: torch.device
    _by_task: bool
    _prepared: Callable[[], Tensor]

    @classmethod
    def of(
        cls, rows: Rows, slots: Tensor, device: torch.device, *, by_task: bool, inputs: Tensor | Callable[[], Tensor]
    ) -> ReplayBatch:
        """Those in `slots` (n,) of the memory's `rows`, on `device`; `inputs` is shown, or returns what is."""
        batch = cls.__new__(cls)
        batch._rows, batch._slots, batch._device, batch._by_task = rows, slots, device, by_task
        if isinstance(inputs, Tensor):
            batch.inputs = inputs
        else:
            batch._prepared = inputs
        batch.samples = slots.shape[0]
        return batch

    @cached_property
    def inputs(self) -> Tensor:  # type: ignore[override]
        """Network inputs."""
        return self._prepared()

    @cached_property
    def targets(self) -> Tensor:  # type: ignore[override]
        """Labels."""
        return self._column(self._rows.targets)

    @cached_property
    def tasks(self) -> Tensor | None:  # type: ignore[override]
        """Task labels."""
        return self._column(self._rows.tasks) if self._by_task else None

    @cached_property
    def logits(self) -> Tensor | None:  # type: ignore[override]
        """As they were stored."""
        return None if self._rows.logits is None else self._column(self._rows.logits)

    @cached_property
    def experiences(self) -> Tensor | None:  # type: ignore[override]
        """Indices of the experiences."""
        return self._column(self._rows.experiences)

    def _column(self, column: Tensor) -> Tensor:
        return on(self._device, column.index_select(0, self._slots))


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
        slots, stored = memory.draw(n, draws=len(draws)), self._rows.raw.device  # (draws · n,), on the CPU
        if not (unique and len(plain) > 1):
            there = on(stored, slots)
            inputs = self._inputs(there)
            found = zip(draws, there.chunk(len(draws)), inputs.chunk(len(draws)), strict=True)
            self.batches = {draw: self._batch(own, mine) for draw, own, mine in found}
            return
        own = dict(zip(draws, slots.chunk(len(draws)), strict=True))
        drawn = slots if len(plain) == len(draws) else torch.cat([own[draw] for draw in plain])
        rows, places = (on(stored, index) for index in unique_slots(drawn, len(memory)))
        self._places = places
        where = dict(zip(plain, places.chunk(len(plain)), strict=True))
        once = self._inputs(rows)
        self._shared = self._batch(rows, once)
        for draw, index in own.items():
            there = on(stored, index)
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
        return self._prepare(on(self._device, self._rows.raw.index_select(0, slots)), self._generator)

    def _batch(self, slots: Tensor, inputs: Tensor | Callable[[], Tensor]) -> Batch:
        """The samples in these slots, which lie on the memory's device."""
        return ReplayBatch.of(self._rows, slots, self._device, by_task=self._by_task, inputs=inputs)


def unique_slots(drawn: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Of slots (M,) below n the unique ones (U,) in ascending order, and which of them each is, (M,); on the CPU.

    25 µs for two draws of 128 from 200, where np.unique takes 42 and torch.unique 35.
    """
    slots = drawn.numpy()
    taken = np.zeros(n, dtype=bool)
    taken[slots] = True
    return torch.from_numpy(taken.nonzero()[0]), torch.from_numpy((taken.cumsum() - 1)[slots])
