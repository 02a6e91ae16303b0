"""The learner's past self: a frozen copy taken at a task boundary.

Li & Hoiem, Learning without Forgetting, 2016, arXiv:1606.09282, section 3: the old network's answers are recorded
with the parameters as they were before the new task.
"""

from __future__ import annotations

import copy

from ckd.part import Ending
from ckd.teachers.teacher import Frozen, Teacher


class Snapshot(Teacher):
    """A copy of the model as it was when the last experience ended; ready from then on.

    Args:
        of_answer: copy the network that answers at evaluation (with its corrected bias, say), not the student.
    """

    needs_boundaries = True

    def __init__(self, *, of_answer: bool = False) -> None:
        super().__init__()
        self.of_answer = of_answer

    def end(self, ending: Ending) -> None:
        """Replace the copy by the model as it is now."""
        model = ending.answering() if self.of_answer and ending.answering is not None else ending.model
        self._frozen = Frozen(copy.deepcopy(model))
        self.taught = ending.taught
