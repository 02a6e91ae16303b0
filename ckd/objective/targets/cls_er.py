"""For each sample the teacher that knows its label best. Arani et al. 2022 (CLS-ER), arXiv:2201.12604, algorithm 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ckd.objective.step import Shown, Step
from ckd.objective.targets.target import Target, Wish
from ckd.objective.targets.teachers import TeacherOutput
from ckd.outputs import logits


@dataclass(frozen=True)
class BestTeacher(Target):
    """Of several teachers, for each sample the one that finds its label most likely."""

    of_samples: ClassVar[bool] = True
    needs_one_label: ClassVar[bool] = True

    names: tuple[str, ...]

    @property
    def teachers(self) -> tuple[str, ...]:
        """Their names."""
        return self.names

    def wishes(self, shown: Shown) -> list[Wish]:
        """The logits of each."""
        return [(name, shown, logits) for name in self.names]

    def values(self, step: Step, shown: Shown) -> tuple[Tensor, Tensor | None]:
        """Logits (B, C) of each sample's best teacher, and the classes that the first knows."""
        found = torch.stack([step.teacher_output(name, shown) for name in self.names])  # (teachers, B, C)
        label = step.batch(shown).targets.expand(len(self.names), -1)[..., None]  # (teachers, B, 1)
        likely = found.log_softmax(-1).gather(-1, label)[..., 0]  # (teachers, B)
        best = likely.argmax(0)[None, :, None].expand(-1, -1, found.shape[-1])  # (1, B, C)
        return found.gather(0, best)[0], TeacherOutput(self.names[0]).values(step, shown)[1]
