"""The learner's past self: a frozen copy taken at a task boundary.

Li & Hoiem, Learning without Forgetting, 2016, arXiv:1606.09282, section 3: the old network's outputs are recorded
with the parameters as they were before the new task.
"""

from __future__ import annotations

from ckd.part import Ending, copy_of
from ckd.teachers.teacher import Frozen, Teacher


class Snapshot(Teacher):
    """A copy of the model as it was when the last experience ended; ready from then on.

    Args:
        of_evaluation_model: copy the network that predicts at evaluation (an average, or with its corrected bias), not
            the student.
    """

    needs_boundaries = True

    def __init__(self, *, of_evaluation_model: bool = False) -> None:
        super().__init__()
        self.of_evaluation_model = of_evaluation_model

    def end(self, ending: Ending) -> None:
        """Replace the copy by the model as it is now."""
        of_evaluation = self.of_evaluation_model and ending.evaluation_model is not None
        model = ending.evaluation_model() if of_evaluation and ending.evaluation_model else ending.model
        self._frozen = Frozen(copy_of(model))
        self.classes = ending.classes.seen
