"""A data set as whole tensors, gathered by index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ckd.data.preparation import Preparation


@dataclass
class Resident:
    """One data set as tensors.

    Attributes:
        raw: returns the raw samples (R, ...); called before every batch, since experiences may share a buffer.
        rows: rows (N,) of `raw` that make up the data set, int64; None means all, in order.
        columns: labels and further columns of a mini-batch, (N,) each.
        preparation: raw samples to network inputs.
    """

    raw: Callable[[], Tensor]
    rows: Tensor | None
    columns: list[Tensor]
    preparation: Preparation

    def __len__(self) -> int:
        return len(self.columns[0])

    def take(self, index: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Raw samples (B, ...) and columns (B,) at `index` (B,)."""
        rows = index if self.rows is None else self.rows.index_select(0, index)
        return self.raw().index_select(0, rows), [c.index_select(0, index) for c in self.columns]

    def to(self, device: torch.device) -> Resident:
        """The same on `device`."""
        if device.type == "cpu":
            return self
        raw = self.raw().to(device)
        rows = None if self.rows is None else self.rows.to(device)
        return Resident(lambda: raw, rows, [c.to(device) for c in self.columns], self.preparation)
