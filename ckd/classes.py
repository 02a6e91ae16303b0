"""Which classes a learner has met: kept by index, because a head may be wider than what was taught."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import torch
from torch import Tensor


class ClassSet:
    """An immutable set of class indices, kept per task label so that multi-head models can be asked head by head.

    With `per_task=False` (one shared head) `mask` is one row for every sample; with `per_task=True` each
    sample gets the classes of its own task.
    """

    def __init__(self, by_task: dict[int, frozenset[int]] | None = None, *, per_task: bool = False) -> None:
        self.by_task = dict(by_task or {})
        self.per_task = per_task
        self._n_tasks = max(self.by_task, default=-1) + 1
        self._rows: dict[tuple[int, torch.device], Tensor | None] = {}
        self._tables: dict[tuple[int, torch.device], Tensor] = {}

    @property
    def tasks(self) -> list[int]:
        """Task labels, in ascending order."""
        return sorted(self.by_task)

    @functools.cached_property
    def indices(self) -> list[int]:
        """Class indices over all tasks, in ascending order."""
        return sorted(frozenset[int]().union(*self.by_task.values()))

    def __len__(self) -> int:
        return len(self.indices)

    def __or__(self, other: ClassSet) -> ClassSet:
        merged = dict(self.by_task)
        for task, classes in other.by_task.items():
            merged[task] = merged.get(task, frozenset()) | classes
        return ClassSet(merged, per_task=self.per_task or other.per_task)

    def __sub__(self, other: ClassSet) -> ClassSet:
        shared = None if self.per_task else frozenset(other.indices)  # on one head a class is the same in every task
        left = {
            task: classes - (other.by_task.get(task, frozenset()) if shared is None else shared)
            for task, classes in self.by_task.items()
        }
        return ClassSet({task: classes for task, classes in left.items() if classes}, per_task=self.per_task)

    def mask(self, width: int, tasks: Tensor | None, device: torch.device) -> Tensor | None:
        """True where a class is in the set, for a head of `width` units.

        Returns:
            bool (width,), or (B, width) for the `tasks` (B,) of a multi-head model; None if every unit is meant.
        """
        key = (width, device)
        if not self.per_task or tasks is None:
            if key not in self._rows:
                row = _row(self.indices, width)
                self._rows[key] = None if row.all() else row.to(device)
            return self._rows[key]
        if key not in self._tables:
            table = [_row(self.by_task.get(task, ()), width) for task in range(self._n_tasks + 1)]
            self._tables[key] = torch.stack(table).to(device)  # the last row is for tasks never met
        return self._tables[key].index_select(0, tasks.clamp(max=self._n_tasks))

    def known(self, tasks: Tensor) -> Tensor:
        """The `tasks` (B,) with a label of the set in the place of each that is not in it."""
        lookup = [task if task in self.by_task else self.tasks[0] for task in range(self._n_tasks)]
        table = torch.tensor([*lookup, self.tasks[0]], device=tasks.device)
        return table.index_select(0, tasks.clamp(max=self._n_tasks))


def _row(classes: Iterable[int], width: int) -> Tensor:
    row = torch.zeros(width, dtype=torch.bool)
    row[[c for c in classes if c < width]] = True
    return row


class Classes:
    """Class bookkeeping over a stream: `old` before this experience, `current` in it, `seen` both.

    `brought` holds the classes that each past experience was the first to bring, without those that brought none.
    """

    def __init__(self) -> None:
        self.old = self.current = self.seen = ClassSet()
        self.brought: list[ClassSet] = []

    def meet(self, by_task: dict[int, frozenset[int]], *, per_task: bool) -> None:
        """Add the classes of the experience (or online sub-experience) that begins."""
        self.current = self.current | ClassSet(by_task, per_task=per_task)
        self.seen = self.old | self.current

    def close(self) -> None:
        """Cross a task boundary: what was current becomes old."""
        new = self.current - self.old
        if len(new):
            self.brought.append(new)
        self.old, self.current = self.seen, ClassSet()
