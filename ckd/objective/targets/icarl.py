"""Labels for current classes, a teacher's sigmoids for old ones. Rebuffi et al. 2017 (iCaRL), arXiv:1611.07725."""

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
class OldProbabilities(Target):
    """Probabilities, each class on its own: the label's for current classes, a teacher's for the others that it knows.

    The targets of iCaRL's algorithm 3; a class that comes again is current. Before the teacher is ready there are only
    labels, and it is not waited for.
    """

    waits: ClassVar[bool] = False
    of_samples: ClassVar[bool] = True
    needs_one_label: ClassVar[bool] = True

    name: str

    @property
    def teachers(self) -> tuple[str, ...]:
        """The teacher's name."""
        return (self.name,)

    def wishes(self, shown: Shown) -> list[Wish]:
        """The teacher's logits."""
        return [(self.name, shown, logits)]

    def values(self, step: Step, shown: Shown) -> tuple[Tensor, Tensor | None]:
        """Probabilities (B, C) over the head of the student, valid for the classes seen."""
        batch, student = step.batch(shown), step.student(shown)
        seen = step.moment.classes.seen.mask(student.shape[1], batch.tasks, student.device)
        target = torch.zeros_like(student, requires_grad=False).scatter_(1, batch.targets[:, None], 1.0)
        if step.teacher(self.name).ready:
            old = step.teacher_output(self.name, shown).sigmoid()
            valid = TeacherOutput(self.name).values(step, shown)[1]
            width = min(old.shape[1], target.shape[1])
            known = torch.ones_like(target[:, :width], dtype=torch.bool) if valid is None else valid[..., :width]
            now = step.moment.classes.current.mask(student.shape[1], batch.tasks, student.device)
            known = known & ~now[..., :width] if now is not None else torch.zeros_like(known)
            target[:, :width] = torch.where(known, old[:, :width], target[:, :width])
        return target, seen
