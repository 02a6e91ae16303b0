"""Preallocated tensor columns: rows of one table, written and read by index."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from ckd.errors import DataError


@dataclass
class Rows:
    """Samples, one a row.

    Attributes:
        raw: stored inputs (N, ...), in the dtype given.
        targets: labels (N,), int64.
        tasks: task labels (N,), int64; 0 where the benchmark has none.
        experiences: index of the experience (N,), int64.
        logits: answers (N, C) when the sample was stored, NaN where no unit was live; None if not kept.
    """

    raw: Tensor
    targets: Tensor
    tasks: Tensor
    experiences: Tensor
    logits: Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def items(self) -> list[tuple[str, Tensor]]:
        """The columns that are there, by name."""
        return [(f.name, column) for f in fields(self) if (column := getattr(self, f.name)) is not None]

    def take(self, index: Tensor) -> Rows:
        """Copies of the rows at `index` (M,), int64."""
        return Rows(**{name: column.index_select(0, index) for name, column in self.items()})

    def to(self, device: torch.device) -> Rows:
        """The same rows on `device`."""
        return Rows(**{name: column.to(device) for name, column in self.items()})


def allocate(like: Rows, capacity: int, device: torch.device) -> Rows:
    """Empty columns for `capacity` rows shaped and typed as those of `like`."""
    made = {name: column.new_zeros((capacity, *column.shape[1:]), device=device) for name, column in like.items()}
    return Rows(**made)


def check_kind(table: Rows, rows: Rows) -> None:
    """Raise unless `rows` can be written into `table`.

    Raises:
        DataError: samples of another shape or dtype.
    """
    if rows.raw.shape[1:] != table.raw.shape[1:] or rows.raw.dtype != table.raw.dtype:
        raise DataError(
            "samples to remember",
            expected=f"rows of {tuple(table.raw.shape[1:])} {table.raw.dtype}, as those in memory",
            received=f"rows of {tuple(rows.raw.shape[1:])} {rows.raw.dtype}",
            fix="Give every experience the same kind of data set, or start a new memory.",
        )


def write(table: Rows, slots: Tensor, rows: Rows) -> Rows:
    """Copy `rows` into `slots` (M,) of `table`, in place where the shapes allow; returns the table.

    A wider head widens the logits column: older rows get NaN for the classes that were not there.
    """
    if table.logits is not None and rows.logits is not None:
        width = max(table.logits.shape[1], rows.logits.shape[1])
        table = replace(table, logits=_widen(table.logits, width))
        rows = replace(rows, logits=_widen(rows.logits, width))
    for name, column in table.items():
        column.index_copy_(0, slots, getattr(rows, name).to(column))
    return table


def _widen(logits: Tensor, width: int) -> Tensor:
    missing = width - logits.shape[1]
    return torch.nn.functional.pad(logits, (0, missing), value=torch.nan) if missing else logits
