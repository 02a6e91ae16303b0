"""A memory whose logits are those of the trained model: computed when an experience ends, not when a sample was seen.

Benjamin et al. 2019 (FDR), arXiv:1805.08289; with later classes implanted, Boschini et al. 2022 (X-DER),
arXiv:2201.00766.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ckd.classes import ClassSet
from ckd.errors import ConfigError
from ckd.memory.memory import Memory
from ckd.part import Ending
from ckd.rows import Rows


class RefreshedMemory(Memory):
    """As `Memory`; a sample has no logits (NaN) until its experience ends, and then those of the model in eval mode.

    Until then it is not drawn either. The logits are those of every active unit; with `implant` those of the classes
    met so far, as others come later.

    Args:
        size: how many samples; 0 remembers nothing.
        implant: γ in [0, 1]: when an experience ends, older samples too get the logits of the classes that it brought,
            and those of its own samples of such classes for earlier ones are bounded, both by `implanted`. None leaves
            stored logits as they are.
        options: as for `Memory`; `earlier_only` holds in any case.

    Raises:
        ConfigError: as `Memory`, or a γ outside [0, 1].
    """

    needs_one_label = True

    def __init__(self, size: int, *, implant: float | None = None, **options: Any) -> None:
        super().__init__(size, **{**options, "earlier_only": True})
        if implant is not None and not (isinstance(implant, int | float) and 0 <= implant <= 1):
            fix = "The paper uses 0.85."
            raise ConfigError("implant", expected="a number from 0 to 1", received=repr(implant), fix=fix)
        self.implant = implant

    def _offer(self, incoming: Rows, *, all_known: bool) -> None:
        """Offer a batch, its logits left out for now."""
        if incoming.logits is not None:
            incoming = replace(incoming, logits=torch.full_like(incoming.logits, torch.nan))
        super()._offer(incoming, all_known=False)

    def end(self, ending: Ending) -> None:
        """Give the samples of this experience their logits, and the older ones those of its classes."""
        super().end(ending)
        rows = self.rows if self.keep_logits and len(self) else None
        if rows is None or rows.logits is None:
            return
        computed = ending.logits(ending.model, rows).to(rows.logits)
        stored = torch.full_like(computed, torch.nan)  # a head may have grown since the last sample came
        stored[:, : rows.logits.shape[1]] = rows.logits
        seen = _where(ending.classes.seen, computed, rows.tasks)
        known = seen if self.implant is not None else _where(ending.active, computed, rows.tasks)
        own = (rows.experiences == ending.experience)[:, None]
        fresh = torch.where(own & known, computed, stored)
        if self.implant is not None:
            new = _where(ending.classes.new, computed, rows.tasks)
            first_met = new.gather(1, rows.targets[:, None])
            others = torch.where(own, first_met & seen & ~new, new)
            fresh = implanted(fresh, computed, rows.targets, others, self.implant)
        assert self._table is not None
        everything = fresh.new_full((self.size, fresh.shape[1]), torch.nan)
        everything[: len(fresh)] = fresh
        self._table = replace(self._table, logits=everything)


def implanted(stored: Tensor, computed: Tensor, targets: Tensor, where: Tensor, gamma: float) -> Tensor:
    """`stored` logits (B, C) with `computed` ones (B, C) at `where`, bounded by the stored logit of the true class.

    A row's implanted logits whose largest exceeds the stored logit of the true class are scaled by γ · that logit /
    the largest, the factor cut to [0, 1] (X-DER, as in the authors' code; the cut, for negative logits, is ours).

    Args:
        stored: logits kept with the samples, NaN where there are none.
        computed: logits of today's model.
        targets: labels (B,), int64.
        where: bool (B, C) or (C,).
        gamma: γ in [0, 1].
    """
    where = where.expand_as(stored)
    truth = stored.gather(1, targets[:, None])  # (B, 1)
    largest = computed.masked_fill(~where, -torch.inf).amax(1, keepdim=True)
    factor = (gamma * truth / largest).clamp(0, 1)
    bounded = torch.where(largest > truth, factor * computed, computed)
    return torch.where(where, bounded, stored)


def _where(classes: ClassSet | None, like: Tensor, tasks: Tensor) -> Tensor:
    mask = None if classes is None else classes.mask(like.shape[1], tasks, like.device)
    return torch.ones_like(like, dtype=torch.bool) if mask is None else mask.expand_as(like)
