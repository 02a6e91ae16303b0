"""Balanced memory: equal shares for classes, for tasks, or for every class of every task.

A uniform sample within each group, as the class-balancing reservoir of Chrysakis & Moens 2020 (Online Continual
Learning from Imbalanced Data, ICML) aims at; drawn here with random priorities (Efraimidis & Spirakis 2006), which
decides a whole batch with two sorts.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from ckd.errors import ConfigError
from ckd.rows import Rows

By = Literal["class", "task", "both"]


class Balanced:
    """Keeps groups of equal size, each a uniform sample of what its group offered.

    Every sample gets a random priority; a group keeps its highest. When a group is small the others share what it
    leaves free, and shrink again when it grows.

    Args:
        by: "class", "task" (the experience a sample came from) or "both".
    """

    needs_one_label = True

    def __init__(self, by: By = "class") -> None:
        if by not in ("class", "task", "both"):
            raise ConfigError(
                "balance of the memory",
                expected='"class", "task" or "both"',
                received=repr(by),
                fix='Balanced(by="class") is the usual choice.',
            )
        self.by = by
        self.priority = torch.empty(0, dtype=torch.float64)

    def admit(self, incoming: Rows, stored: Rows, capacity: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Keep the `capacity` rows, old and new, that stand first in their groups."""
        n_stored, n = len(stored), len(incoming)
        fresh = torch.rand(n, generator=generator, dtype=torch.float64)
        priority = torch.cat([self.priority, fresh])
        group = torch.cat([self._group(stored), self._group(incoming)])
        order = torch.argsort(_rank_within(group, priority).double() - priority)  # by rank, then by priority
        kept = torch.zeros(n_stored + n, dtype=torch.bool)
        kept[order[:capacity]] = True
        free = torch.cat([(~kept[:n_stored]).nonzero()[:, 0], torch.arange(n_stored, capacity)])
        rows = kept[n_stored:].nonzero()[:, 0]
        slots = free[: len(rows)]
        grown = torch.zeros(min(capacity, n_stored + n), dtype=torch.float64)
        grown[:n_stored] = self.priority
        grown[slots] = fresh[rows]
        self.priority = grown
        return rows, slots

    def _group(self, rows: Rows) -> Tensor:
        """A key (N,) for each row: equal keys share a quota."""
        if self.by == "class":
            return rows.targets.cpu()
        if self.by == "task":
            return rows.experiences.cpu()
        return rows.experiences.cpu() * 2**32 + rows.targets.cpu()

    def state_dict(self) -> dict[str, Any]:
        """The priorities of the stored rows."""
        return {"priority": self.priority.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the priorities."""
        self.priority = state["priority"].cpu().clone()


def _rank_within(group: Tensor, priority: Tensor) -> Tensor:
    """0 for the highest priority of each group, 1 for the next, and so on; (N,)."""
    by_priority = torch.argsort(priority, descending=True)
    order = by_priority[torch.argsort(group[by_priority], stable=True)]
    sizes = torch.unique_consecutive(group[order], return_counts=True)[1]
    starts = torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order)) - starts
    return rank
