"""Exemplars chosen by herding, class by class, when an experience ends.

Rebuffi et al. 2017 (iCaRL), arXiv:1611.07725, algorithms 4 and 5 (Welling 2009): each next exemplar brings the mean
feature of those chosen closest to the mean feature of the class.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ckd.classes import Classes
from ckd.errors import ConfigError
from ckd.memory.columns import allocate, check_kind, write
from ckd.memory.memory import Memory
from ckd.part import Ending, Update, refuse_heads_per_task
from ckd.rows import Rows


class HerdedMemory(Memory):
    """At most `size` samples, equally many of each class, in the order in which herding chose them.

    Nothing enters during an experience. When it ends, old classes are cut to their new share, from the back, and new
    classes are herded from the experience's own samples with the features that the head takes in. Needs boundaries.
    """

    can_keep_logits = False  # nothing is stored while the student trains on it
    needs_whole_experience = True
    needs_data = True
    needs_one_label = True
    needs_head = True

    def __init__(self, size: int, **options: Any) -> None:
        super().__init__(size, **options)
        if self.stride:
            raise ConfigError(
                "herded memory",
                expected="held_out=0",
                received="samples to hold out",
                fix="Its samples change places at boundaries; use Memory.",
            )

    def begin(self, model: nn.Module, classes: Classes) -> None:
        """Refuse a model with a head for each task, which has no one space of features for the head."""
        refuse_heads_per_task("herded memory", classes.seen)

    def after_update(self, update: Update) -> None:
        """Remember nothing yet."""

    def end(self, ending: Ending) -> None:
        """Make room for the classes of the experience, and herd them."""
        if self.size == 0:
            return
        arrived = joined(list(ending.data()))
        if arrived is None:
            return
        stored = self.rows if len(self) else None
        share = self.size // len(ending.classes.seen)
        known = set() if stored is None else set(stored.targets.tolist())
        kept = [] if stored is None else [_first_of_each_class(stored, share)]
        if stored is not None:
            check_kind(stored, arrived)
        for c in sorted(set(arrived.targets.tolist()) - known):
            members = (arrived.targets == c).nonzero()[:, 0]
            features = F.normalize(ending.features(ending.model, arrived.take(members)), dim=1)
            kept.append(arrived.take(members[herd(features, share).to(members.device)]))
        self._replace(kept)

    def _replace(self, kept: list[Rows]) -> None:
        rows = joined([k.to(kept[0].raw.device) for k in kept])
        assert rows is not None
        device = self.device or rows.raw.device
        self._filled, self._drawable = len(rows), None
        self._table = write(allocate(rows, self.size, device), torch.arange(len(rows), device=device), rows.to(device))


@torch.no_grad()
def herd(features: Tensor, n: int) -> Tensor:
    """Indices (min(n, N),) of the rows of `features` (N, D) that herding chooses, in its order, without repetition."""
    mean = features.mean(0)
    total = torch.zeros_like(mean)
    free = torch.ones(len(features), dtype=torch.bool, device=features.device)
    chosen = []
    for k in range(1, min(n, len(features)) + 1):
        gap = (mean - (total + features) / k).square().sum(1).masked_fill(~free, torch.inf)
        chosen.append(gap.argmin())
        free[chosen[-1]] = False
        total += features[chosen[-1]]
    return torch.stack(chosen) if chosen else torch.empty(0, dtype=torch.int64, device=features.device)


def _first_of_each_class(rows: Rows, share: int) -> Rows:
    first = [(rows.targets == c).nonzero()[:share, 0] for c in torch.unique(rows.targets)]
    return rows.take(torch.cat(first))


def joined(parts: list[Rows]) -> Rows | None:
    """The rows of all parts, in order; None where there are no parts."""
    if not parts:
        return None
    columns = [dict(part.items()) for part in parts]
    return Rows(**{name: torch.cat([c[name] for c in columns]) for name in columns[0]})
