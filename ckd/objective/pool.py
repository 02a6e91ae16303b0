"""What several draws from memory take between them, each sample once."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ckd.objective.batch import Batch
from ckd.objective.draws import Draw

if TYPE_CHECKING:
    from ckd.objective.step import Step


@dataclass(frozen=True)
class Pool(Draw):
    """The remembered samples of a step, each once: two draws of 128 from 200 have some 82 in common."""

    def realise(self, step: Step) -> Batch:
        """The samples that the step's draws have taken."""
        return step.pool()


def _column(name: str) -> Any:
    def gathered(selection: Selection) -> Tensor | None:
        column = getattr(selection.pool, name)
        return None if column is None else column.index_select(0, selection.places)

    return functools.cached_property(gathered)


class Selection(Batch):
    """The samples of a pool at `places` (B,), each column gathered when someone asks for it."""

    def __init__(self, pool: Batch, places: Tensor) -> None:
        self.pool, self.places = pool, places
        self.samples, self.room = places.shape[0], None

    inputs, targets = _column("inputs"), _column("targets")
    tasks, logits, experiences = _column("tasks"), _column("logits"), _column("experiences")


def each_once(drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Of rows (M,) the different ones (U,) in ascending order, and which of them each is, (M,); on the CPU."""
    rows = drawn.numpy()  # numpy, as it is several times as fast as torch for so few numbers
    taken = np.zeros(rows.max() + 1, dtype=bool)
    taken[rows] = True
    return torch.from_numpy(taken.nonzero()[0]), torch.from_numpy((taken.cumsum() - 1)[rows])
