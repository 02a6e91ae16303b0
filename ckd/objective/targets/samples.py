"""What is known of the samples themselves: their labels, and the logits that were stored with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ckd.objective.class_axis import n_classes
from ckd.objective.step import Shown, Step
from ckd.objective.targets.target import Target


@dataclass(frozen=True)
class Labels(Target):
    """The true classes (B, ...); probabilities (B, C) where a view mixed samples and their labels."""

    of_samples: ClassVar[bool] = True

    def values(self, step: Step, shown: Shown) -> tuple[Tensor, None]:
        """Labels or probabilities, valid for every class."""
        batch = step.batch(shown)
        if batch.mixed_labels is None:
            return batch.targets, None
        mixed = batch.probabilities(n_classes(step.student(shown)))
        return batch.targets if mixed is None else mixed, None


@dataclass(frozen=True)
class StoredLogits(Target):
    """The logits that were stored with remembered samples (Buzzega et al. 2020, DER, arXiv:2004.07211)."""

    stored_logits: ClassVar[bool] = True
    of_samples: ClassVar[bool] = True

    def values(self, step: Step, shown: Shown) -> tuple[Tensor, Tensor | None]:
        """Logits (B, C), valid for units that were active at that time (B, C); None where all are known to be."""
        logits, memory = step.batch(shown).logits, step.memory
        assert logits is not None  # the objective made the memory keep them
        assert memory is not None
        return logits, None if memory.all_logits_known else ~logits.isnan()


labels = Labels()
"""The true classes of the samples."""

stored_logits = StoredLogits()
"""The logits that the memory kept with its samples."""
