"""An output of a teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ckd.objective.batch import View
from ckd.objective.class_axis import n_classes
from ckd.objective.step import Shown, Step
from ckd.objective.targets.target import Target, Wish
from ckd.outputs import Output, logits


@dataclass(frozen=True)
class TeacherOutput(Target):
    """An output of a teacher; logits are valid for the classes that it knows.

    Args:
        name: of the teacher in the objective.
        output: its logits, or a tap.
        past_only: leaves out remembered samples of the experience that runs, which a snapshot has never met.
        view: what the teacher is shown; the view of the term unless given. `as_drawn` shows it the samples as they are.
    """

    name: str
    output: Output = logits
    past_only: bool = False
    view: View | None = None

    @property
    def teachers(self) -> tuple[str, ...]:
        """The teacher's name."""
        return (self.name,)

    def wishes(self, shown: Shown) -> list[Wish]:
        """The one output."""
        return [(self.name, self._shown(shown), self.output)]

    def values(self, step: Step, shown: Shown) -> tuple[Any, Tensor | None]:
        """Logits (B, C) and the classes known, (C,), (B, C) or None for all; or what was tapped, and None."""
        values = step.teacher_output(self.name, self._shown(shown), self.output)
        batch, past = step.batch(shown), None
        if self.past_only and batch.experiences is not None:
            past = batch.experiences < step.moment.experience
        if not self.output.is_logits:
            return values, past
        width = n_classes(values)
        valid = step.teacher(self.name).valid(width, batch.tasks, values.device)
        if past is None:
            return values, valid
        past = past[:, None].expand(-1, width)
        return values, past if valid is None else past & valid

    def _shown(self, shown: Shown) -> Shown:
        if self.view is None:
            return shown
        return Shown(shown.draw, None if self.view is as_drawn else self.view)


def as_drawn(batch: Any, generator: Any) -> Any:
    """A view that changes nothing: `teacher("t", view=as_drawn)` beside a term that augments for the student."""
    return batch
