"""Samples as rows of tensor columns."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ckd.devices import on


@dataclass
class Rows:
    """Samples, one a row.

    Attributes:
        raw: samples as they are stored (N, ...), in the dtype given.
        targets: labels (N, ...), int64; (N,) for classification.
        tasks: task labels (N,), int64; 0 where the benchmark has none.
        experiences: index of the experience (N,), int64.
        logits: of the student when the sample was stored (N, C), NaN for inactive units; None if not kept.
    """

    raw: Tensor
    targets: Tensor
    tasks: Tensor
    experiences: Tensor
    logits: Tensor | None = None

    def __len__(self) -> int:
        return self.targets.shape[0]

    def items(self) -> list[tuple[str, Tensor]]:
        """The columns that are there, by name."""
        return [(name, column) for name in _COLUMNS if (column := getattr(self, name)) is not None]

    def take(self, index: Tensor) -> Rows:
        """Copies of the rows at `index` (M,), int64."""
        return Rows(**{name: column.index_select(0, on(column.device, index)) for name, column in self.items()})

    def to(self, device: torch.device) -> Rows:
        """The same rows on `device`; themselves if they are there."""
        if self.raw.device == device:
            return self
        return Rows(**{name: column.to(device) for name, column in self.items()})


_COLUMNS = tuple(field.name for field in fields(Rows))
