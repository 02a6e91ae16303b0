"""The true classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ckd.objective.class_axis import n_classes
from ckd.objective.step import Shown, Step
from ckd.objective.targets.target import Target
from ckd.outputs import logits


@dataclass(frozen=True)
class Labels(Target):
    """The true classes; probabilities where a view mixed samples and their labels."""

    of_samples: ClassVar[bool] = True

    def values(self, step: Step, shown: Shown) -> tuple[Tensor, None]:
        """Labels (B, ...), or probabilities (B, C) of mixed labels."""
        batch = step.batch(shown)
        if batch.mixed_labels is None:
            return batch.targets, None
        mixed = batch.probabilities(n_classes(step.student(shown, logits)))
        return batch.targets if mixed is None else mixed, None


labels = Labels()
"""The true classes."""
