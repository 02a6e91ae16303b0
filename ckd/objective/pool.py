"""Samples drawn from a memory, and what several draws took between them, each sample once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ckd.objective.batch import Batch
from ckd.objective.draws import Draw
from ckd.rows import Rows

if TYPE_CHECKING:
    from ckd.objective.step import Step


@dataclass(frozen=True)
class Pool(Draw):
    """The remembered samples of a step, each once: two draws of 128 from 200 have some 82 in common."""

    def realise(self, step: Step) -> Batch:
        """The samples that the step's draws have taken."""
        return step.pool()


def _column(name: str) -> Any:
    def gathered(drawn: Drawn) -> Tensor | None:
        column: Tensor | None = getattr(drawn.rows, name)
        return None if column is None else column.index_select(0, drawn.slots).to(drawn.device)

    return functools.cached_property(gathered)


class Drawn(Batch):
    """The samples in some slots of a memory; a column is gathered when it is looked at, so look before it changes.

    Args:
        rows: of the memory.
        slots: (B,), int64, on the memory's device.
        inputs: the network inputs (B, ...), or what returns them.
        device: where the columns go.
        by_task: whether there are task labels.
    """

    def __init__(
        self, rows: Rows, slots: Tensor, inputs: Tensor | Callable[[], Tensor], *, device: torch.device, by_task: bool
    ) -> None:
        self.rows, self.slots, self.device = rows, slots, device
        self._inputs = inputs
        self.samples, self.room = slots.shape[0], None
        if not by_task:
            self.tasks = None

    @functools.cached_property
    def inputs(self) -> Tensor:  # type: ignore[override]
        """Network inputs (B, ...)."""
        return self._inputs() if callable(self._inputs) else self._inputs

    def whole(self) -> Batch:
        """All columns, gathered."""
        return Batch(self.inputs, self.targets, self.tasks, self.logits, self.experiences)

    targets, tasks = _column("targets"), _column("tasks")
    logits, experiences = _column("logits"), _column("experiences")


def each_once(drawn: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Of rows (M,) below n the different ones (U,) in ascending order, and which of them each is, (M,); on the CPU."""
    rows = drawn.numpy()  # numpy, as it is several times as fast as torch for so few numbers
    taken = np.zeros(n, dtype=bool)
    taken[rows] = True
    return torch.from_numpy(taken.nonzero()[0]), torch.from_numpy((taken.cumsum() - 1)[rows])
