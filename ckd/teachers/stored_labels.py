"""Soft labels as rows: found by the key of an input, read one by one, checked when they are read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ckd.errors import DataError
from ckd.outputs import class_axis
from ckd.part import tensor_bytes
from ckd.teachers.input_keys import ODD, input_keys
from ckd.teachers.top_k import expand


@dataclass(frozen=True)
class About:
    """What is known of stored soft labels.

    Attributes:
        rows: how many there are.
        classes: width of the teacher's head.
        known: the classes that the teacher knows; None for all.
        dtype: of the stored values, "float16" or "float32".
        top_k: how many log-probabilities a row has; None for all logits.
        temperature: at which the others share the rest of the probability; None without `top_k`.
        inputs: shape and dtype of one input.
        teacher: its fingerprint; empty where that is not known.
        data: SHA-256 of the sorted keys of the inputs: the same inputs in another order have the same.
        made: by what.
        note: what the writer had to add.
    """

    rows: int
    classes: int
    known: list[int] | None
    dtype: str
    top_k: int | None
    temperature: float | None
    inputs: str
    teacher: str
    data: str
    made: str
    note: str = ""


@dataclass
class StoredLabels:
    """Rows of soft labels and where to find them.

    Attributes:
        where: a name for errors.
        keys: of the inputs, in the order of the rows, (N,), int64.
        values: logits (N, ...), or log-probabilities (N, ..., k + 1) as `top_k.compress` returns them.
        checks: what `row_checks` gives for each row, (N,), int32.
        classes: those of the log-probabilities, (N, ..., k); None for logits.
    """

    about: About
    where: str
    keys: Tensor
    values: Tensor
    checks: Tensor
    classes: Tensor | None = None
    _sorted: tuple[Tensor, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        known, rows = torch.sort(self.keys, stable=True)
        self._sorted = known, rows

    @property
    def digest(self) -> str:
        """That of the data, from the keys that are there."""
        return data_digest(self._sorted[0])

    @property
    def index_bytes(self) -> int:
        """Bytes of the sorted keys and their rows, which are in memory."""
        return sum(map(tensor_bytes, self._sorted))

    @property
    def row_bytes(self) -> int:
        """Bytes of all rows."""
        columns = self.keys, self.values, self.checks, self.classes
        return sum(tensor_bytes(column) for column in columns if column is not None)

    def find(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """For each of the keys (B,) the first row that has it and whether there is one, both (B,)."""
        known, rows = self._sorted
        place = torch.searchsorted(known, keys).clamp_(max=len(known) - 1)
        return rows[place], known[place] == keys

    def take(self, rows: Tensor) -> Tensor:
        """Logits (B, ...), float32, of the rows (B,); nothing else is read.

        Raises:
            DataError: a row that is not as it was written.
        """
        values = self.values.index_select(0, rows)
        classes = None if self.classes is None else self.classes.index_select(0, rows)
        damaged = row_checks(self.keys[rows], values, classes) != self.checks[rows]
        if classes is not None:
            damaged |= ((classes < 0) | (classes >= self.about.classes)).flatten(1).any(1)
        if bool(damaged.any()):
            received = f"{int(damaged.sum())} of {len(rows)} rows that were changed since, row {int(rows[damaged][0])}"
            fix = "The file is damaged: copy or write it again."
            raise DataError(self.where, expected="rows as they were written", received=received, fix=fix)
        if classes is None:
            return values.float()
        wide = expand(values.float(), classes, self.about.classes)
        return wide.movedim(-1, class_axis(wide))


def data_digest(keys: Tensor) -> str:
    """SHA-256 of sorted keys (N,)."""
    return hashlib.sha256(keys.numpy().data).hexdigest()


def row_checks(keys: Tensor, values: Tensor, classes: Tensor | None) -> Tensor:
    """32 bits of every row (N,), int32: a changed row keeps its own with a probability near 2⁻³²."""
    mixed = input_keys(values)
    if classes is not None:
        mixed = mixed * ODD + input_keys(classes)
    return ((mixed * ODD + keys) >> 32).int()
