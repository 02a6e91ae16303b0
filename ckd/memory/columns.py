"""Preallocated tensor columns: rows of one table, written and read by index."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ckd.errors import ConfigError, DataError
from ckd.outputs import class_axis
from ckd.part import tensor_bytes
from ckd.rows import Rows


def allocate(like: Rows, capacity: int, device: torch.device) -> Rows:
    """Empty columns for `capacity` rows shaped and typed as those of `like`.

    Raises:
        ConfigError: more than there is memory for.
    """
    try:
        columns = {name: c.new_zeros((capacity, *c.shape[1:]), device=device) for name, c in like.items()}
    except (RuntimeError, TypeError) as error:  # of size, as nothing else is asked for
        each = sum(tensor_bytes(column[:1]) for _, column in like.items())
        received, fix = f"{capacity} samples of {each} bytes", "Use a smaller memory; 200 and 500 are customary."
        raise ConfigError("memory size", expected=f"room on {device}", received=received, fix=fix) from error
    return Rows(**columns)


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
        axis = class_axis(rows.logits)
        width = max(table.logits.shape[axis], rows.logits.shape[axis])
        table = replace(table, logits=_widen(table.logits, width, axis))
        rows = replace(rows, logits=_widen(rows.logits, width, axis))
    for name, column in table.items():
        column.index_copy_(0, slots, getattr(rows, name).to(column))
    return table


def _widen(logits: Tensor, width: int, axis: int) -> Tensor:
    missing = list(logits.shape)
    missing[axis] = width - logits.shape[axis]
    return torch.cat([logits, logits.new_full(missing, torch.nan)], axis) if missing[axis] else logits
