"""The logits that were stored with remembered samples. Buzzega et al. 2020 (DER), arXiv:2004.07211."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ckd.objective.step import Shown, Step
from ckd.objective.targets.target import Target


@dataclass(frozen=True)
class StoredLogits(Target):
    """The logits that were stored with remembered samples; valid for the units that were active at that time."""

    stored_logits: ClassVar[bool] = True
    of_samples: ClassVar[bool] = True

    def available(self, step: Step) -> bool:
        """Once the memory holds logits."""
        return step.memory is not None and step.memory.has_logits

    def values(self, step: Step, shown: Shown) -> tuple[Tensor, Tensor | None]:
        """Logits (B, C) and their valid classes (B, C); None where all are known to be."""
        logits, memory = step.batch(shown).logits, step.memory
        assert logits is not None  # the objective made the memory keep them
        assert memory is not None
        return logits, None if memory.all_logits_known else ~logits.isnan()


stored_logits = StoredLogits()
"""The logits that were stored with remembered samples."""
