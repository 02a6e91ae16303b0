"""A memory that samples enter when their experience ends, so that none shows what the stream shows anyway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ckd.classes import Classes
from ckd.memory.balanced import Balanced
from ckd.memory.columns import check_kind
from ckd.memory.herded import HerdedMemory, herd, joined
from ckd.memory.memory import Memory
from ckd.part import Ending, Update
from ckd.rows import Rows


class BoundaryMemory(HerdedMemory):
    """At most `size` samples, equally many of each class of each experience, herded when that experience ends.

    While an experience runs, all places are for the samples of earlier ones. Samples are herded by what the head takes
    in, and by the logits of a model whose head is not found. In an online stream, whose experiences are never at hand
    as a whole, and for a model with a head for each task, samples enter as they come, balanced in the same way.

    Args:
        size: how many samples; 0 remembers nothing.
        options: as for `Memory`.
    """

    needs_whole_experience = False
    needs_head = False

    def __init__(self, size: int, **options: Any) -> None:
        super().__init__(size, policy=Balanced("both"), **options)
        self._as_they_come = False

    def in_pieces(self) -> None:
        """From now on samples enter as they come."""
        self.needs_data = False
        if not self._as_they_come:
            self._as_they_come = True
            priority = torch.rand(len(self), generator=self.generator, dtype=torch.float64)
            self.policy.load_state_dict({"priority": priority})

    def begin(self, model: nn.Module, classes: Classes) -> None:
        """See whether there is a head for each task."""
        if classes.seen.per_task:
            self.in_pieces()

    def after_update(self, update: Update) -> None:
        """Remember nothing yet, unless samples enter as they come."""
        if self._as_they_come:
            Memory.after_update(self, update)

    def end(self, ending: Ending) -> None:
        """Make room for the experience, and herd its classes."""
        Memory.end(self, ending)
        arrived = None if self._as_they_come or not self.size else joined(list(ending.data()))
        if arrived is None:
            return
        stored = self.rows if len(self) else None
        if stored is not None:
            check_kind(stored, arrived)
        groups = [] if stored is None else _groups(stored, stored.experiences * 2**32 + stored.targets)
        fresh = _groups(arrived, arrived.targets)
        n = len(groups) + len(fresh)
        share, rest = divmod(self.size, n)
        places = torch.full((n,), share)
        places[torch.randperm(n, generator=self.generator)[:rest]] += (
            1  # where groups are more than places: some of them
        )
        ending = ending.with_head(arrived)
        kept = [_first(group, m) for group, m in zip(groups, places.tolist(), strict=False)]
        for group, m in zip(fresh, places[len(groups) :].tolist(), strict=True):
            if m:
                kept.append(group.take(herd(F.normalize(_space(ending, group), dim=1), m).to(group.raw.device)))
        self._replace([rows for rows in kept if len(rows)])

    def state_dict(self) -> dict[str, Any]:
        """As `Memory`, and whether samples enter as they come."""
        return {**super().state_dict(), "as_they_come": self._as_they_come}

    def load_state_dict(self, state: Mapping[str, Any], student: nn.Module | None = None) -> None:
        """Restore what `state_dict` returned, bit for bit."""
        super().load_state_dict(state)
        self._as_they_come = state["as_they_come"]
        if self._as_they_come:
            self.needs_data = False


def _groups(rows: Rows, key: Tensor) -> list[Rows]:
    """The rows of each key, in their order."""
    return [rows.take((key == k).nonzero()[:, 0]) for k in torch.unique(key)]


def _first(rows: Rows, n: int) -> Rows:
    return rows.take(torch.arange(min(n, len(rows)), device=rows.raw.device))


def _space(ending: Ending, rows: Rows) -> Tensor:
    """What rows are herded by, (N, D)."""
    of = ending.logits if ending.head is None else ending.features
    return of(ending.model, rows).flatten(1)
