"""Stored logits with those of later classes added. Boschini et al. 2022 (X-DER), arXiv:2201.00766.

Old samples say nothing about classes that came later, but these must not exceed their true class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ckd.errors import ConfigError
from ckd.memory import Memory, RefreshedMemory, implanted
from ckd.objective.step import Shown, Step
from ckd.objective.targets.samples import StoredLogits


@dataclass(frozen=True)
class ImplantedLogits(StoredLogits):
    """Stored logits for the classes of their time; for current classes the student's own, bounded by `implanted`.

    The memory is a `RefreshedMemory`.
    """

    memory_kind: ClassVar[type[Memory]] = RefreshedMemory
    needs_one_label: ClassVar[bool] = True

    gamma: float

    def __post_init__(self) -> None:
        if not isinstance(self.gamma, int | float) or not 0 <= self.gamma <= 1:
            raise ConfigError("implanted logits", expected="γ from 0 to 1", received=repr(self.gamma), fix="Use 0.85.")

    def values(self, step: Step, shown: Shown) -> tuple[Tensor, Tensor]:
        """Logits (B, C) and where there are any (B, C)."""
        batch, student = step.batch(shown), step.student(shown).detach()
        assert batch.logits is not None
        stored = torch.full_like(student, torch.nan)
        stored[:, : batch.logits.shape[1]] = batch.logits
        known = ~stored.isnan()
        now = step.moment.classes.current.mask(student.shape[1], batch.tasks, student.device)
        later = (~known if now is None else now & ~known) & known.any(1, keepdim=True)
        return implanted(stored, student, batch.targets, later, self.gamma), known | later
