"""Which classes a learner has met: kept by index, because a head may be wider than the classes met so far."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor


class ClassSet:
    """An immutable set of class indices, kept per task label so that each head of a multi-head model has its own.

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

    def state_dict(self) -> dict[str, Any]:
        """Plain data; task labels as text, as JSON has them."""
        by_task = {str(task): sorted(classes) for task, classes in self.by_task.items()}
        return {"by_task": by_task, "per_task": self.per_task}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> ClassSet:
        """The set whose `state_dict` this is."""
        by_task = {int(task): frozenset(classes) for task, classes in state["by_task"].items()}
        return cls(by_task, per_task=state["per_task"])

    def mask(self, width: int, tasks: Tensor | None, device: torch.device) -> Tensor | None:
        """True where a class is in the set, for a head of `width` units.

        Returns:
            bool (width,), or (B, width) for the `tasks` (B,) of a multi-head model; None if every unit is in the set.
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

    def replace_unknown(self, tasks: Tensor) -> Tensor:
        """The `tasks` (B,) with a label of the set in the place of each that is not in it."""
        lookup = [task if task in self.by_task else self.tasks[0] for task in range(self._n_tasks)]
        table = torch.tensor([*lookup, self.tasks[0]], device=tasks.device)
        return table.index_select(0, tasks.clamp(max=self._n_tasks))


def _row(classes: Iterable[int], width: int) -> Tensor:
    row = torch.zeros(width, dtype=torch.bool)
    row[[c for c in classes if c < width]] = True
    return row


class Classes:
    """Class bookkeeping over a stream.

    Attributes:
        old: classes of experiences that have ended.
        current: classes of the experience that runs.
        seen: both.
        new_by_experience: for each ended experience the classes that it was the first to bring; those that brought
            none are left out.
    """

    def __init__(self) -> None:
        self.old = self.current = self.seen = ClassSet()
        self.new_by_experience: list[ClassSet] = []

    @property
    def new(self) -> ClassSet:
        """Classes of the experience that runs which no earlier one had."""
        return self.current - self.old

    def begin(self, by_task: Mapping[int, frozenset[int]], *, per_task: bool) -> None:
        """Add the classes of the experience (or online sub-experience) that begins, by task label."""
        self.current = self.current | ClassSet(dict(by_task), per_task=per_task)
        self.seen = self.old | self.current

    def end(self) -> None:
        """Cross a task boundary: what was current becomes old."""
        if len(self.new):
            self.new_by_experience.append(self.new)
        self.old, self.current = self.seen, ClassSet()

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        sets = {"old": self.old, "current": self.current, "seen": self.seen}
        history = [classes.state_dict() for classes in self.new_by_experience]
        return {**{name: classes.state_dict() for name, classes in sets.items()}, "new_by_experience": history}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.old, self.current, self.seen = (ClassSet.of_state(state[name]) for name in ("old", "current", "seen"))
        self.new_by_experience = [ClassSet.of_state(classes) for classes in state["new_by_experience"]]
