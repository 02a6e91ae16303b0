"""A memory whose answers are those of the trained model: given when an experience ends, not when a sample was seen.

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
    """As `Memory`; a sample has no answer (NaN) until its experience ends, and then that of the model in eval mode.

    The answer is that of every live unit; with `implant` that of the classes met so far, as others come later.

    Args:
        size: how many samples; 0 remembers nothing.
        implant: γ in [0, 1]: when an experience ends, older samples too get the answers about the classes that it
            brought, and those of its own samples of such classes about earlier ones are bounded, both by
            `implanted`. None leaves answers as they are.
        options: as for `Memory`.

    Raises:
        ConfigError: as `Memory`, or a γ outside [0, 1].
    """

    needs_boundaries = True

    def __init__(self, size: int, *, implant: float | None = None, **options: Any) -> None:
        super().__init__(size, **options)
        if implant is not None and not (isinstance(implant, int | float) and 0 <= implant <= 1):
            fix = "The paper uses 0.85."
            raise ConfigError("implant", expected="a number from 0 to 1", received=repr(implant), fix=fix)
        self.implant = implant
        self._experience = 0
        self._answered = ClassSet()

    def add(self, incoming: Rows, *, complete: bool = False) -> None:
        """Offer a batch, its answers left out for now."""
        if incoming.logits is not None:
            incoming = replace(incoming, logits=torch.full_like(incoming.logits, torch.nan))
        super().add(incoming)

    @property
    def answered(self) -> bool:
        """Whether an experience has ended."""
        return len(self._answered) > 0

    def end(self, ending: Ending) -> None:
        """Give the samples of this experience their answers, and the older ones those about its classes."""
        brought, self._answered = ending.taught - self._answered, ending.taught
        rows = self.rows if self.keep_logits and len(self) else None
        experience, self._experience = self._experience, self._experience + 1
        if rows is None or rows.logits is None:
            return
        answers = ending.logits(ending.model, rows).to(rows.logits)
        stored = torch.full_like(answers, torch.nan)  # a head may have grown since the last sample came
        stored[:, : rows.logits.shape[1]] = rows.logits
        taught = _where(ending.taught, answers, rows.tasks)
        told = taught if self.implant is not None else _where(ending.live, answers, rows.tasks)
        own = (rows.experiences == experience)[:, None]
        fresh = torch.where(own & told, answers, stored)
        if self.implant is not None:
            new = _where(brought, answers, rows.tasks)
            first_met = new.gather(1, rows.targets[:, None])
            others = torch.where(own, first_met & taught & ~new, new)
            fresh = implanted(fresh, answers, rows.targets, others, self.implant)
        assert self._table is not None
        everything = fresh.new_full((self.size, fresh.shape[1]), torch.nan)
        everything[: len(fresh)] = fresh
        self._table = replace(self._table, logits=everything)

    def state_dict(self) -> dict[str, Any]:
        """As `Memory`, and what has been answered so far."""
        by_task = {task: sorted(classes) for task, classes in self._answered.by_task.items()}
        answered = {"by_task": by_task, "per_task": self._answered.per_task}
        return {**super().state_dict(), "experience": self._experience, "answered": answered}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, bit for bit."""
        super().load_state_dict(state)
        self._experience = state["experience"]
        by_task = {task: frozenset(classes) for task, classes in state["answered"]["by_task"].items()}
        self._answered = ClassSet(by_task, per_task=state["answered"]["per_task"])


def implanted(stored: Tensor, answers: Tensor, targets: Tensor, where: Tensor, gamma: float) -> Tensor:
    """`stored` logits (B, C) with `answers` (B, C) at `where`, bounded by the stored answer about the true class.

    A row's implanted answers whose largest exceeds the stored logit of the true class are scaled by γ · that logit /
    the largest, the factor cut to [0, 1] (X-DER, as in the authors' code; the cut, for negative logits, is ours).

    Args:
        stored: logits kept with the samples, NaN where there are none.
        answers: logits of today's model.
        targets: labels (B,), int64.
        where: bool (B, C) or (C,).
        gamma: γ in [0, 1].
    """
    where = where.expand_as(stored)
    truth = stored.gather(1, targets[:, None])  # (B, 1)
    largest = answers.masked_fill(~where, -torch.inf).amax(1, keepdim=True)
    factor = (gamma * truth / largest).clamp(0, 1)
    bounded = torch.where(largest > truth, factor * answers, answers)
    return torch.where(where, bounded, stored)


def _where(classes: ClassSet | None, like: Tensor, tasks: Tensor) -> Tensor:
    mask = None if classes is None else classes.mask(like.shape[1], tasks, like.device)
    return torch.ones_like(like, dtype=torch.bool) if mask is None else mask.expand_as(like)
