"""A term that compares features instead of answers: what the head takes in, the student's and a teacher's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from ckd.losses import feature_distance
from ckd.objective.projection import Projection
from ckd.objective.targets import TeacherAnswer
from ckd.objective.term import Loss, Term
from ckd.part import Part

if TYPE_CHECKING:
    from ckd.objective.plan import Question
    from ckd.objective.step import Step


@dataclass(frozen=True)
class FeatureTerm(Term):
    """weight · mean of distance(projection(student's features), teacher's features) over a draw.

    Args:
        target: the teacher, `teacher(name)`.
        distance: (B, D), (B, D) to (B,).
        projection: a learned map of the student's features; None compares them as they are.

    The other arguments are those of `Term`; `loss` and `groups` do not apply.
    """

    target: TeacherAnswer = field(default_factory=lambda: TeacherAnswer("snapshot"))
    loss: Loss | None = field(default=None, init=False)
    distance: Callable[[Tensor, Tensor], Tensor] = feature_distance
    projection: Projection | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """The projection, if there is one."""
        return () if self.projection is None else (self.projection,)

    def value(self, step: Step, question: Question) -> Tensor:
        """The term without its weight, a scalar."""
        student = step.features(question)
        target = step.ask_features(self.target.name, question)
        if self.projection is not None:
            student = self.projection(student, target.shape[1])
        return self.distance(student, target).sum() / step.batch(question).samples
