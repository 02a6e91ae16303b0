"""The learner's past self: a frozen copy taken at a task boundary.

Li & Hoiem, Learning without Forgetting, 2016, arXiv:1606.09282, section 3: the old network's answers are recorded
with the parameters as they were before the new task.
"""

from __future__ import annotations

import copy

from torch import nn

from ckd.classes import ClassSet
from ckd.teachers.teacher import Frozen, Teacher


class Snapshot(Teacher):
    """A copy of the model as it was when the last experience ended; ready from then on."""

    def end(self, model: nn.Module, taught: ClassSet) -> None:
        """Replace the copy by the model as it is now."""
        self._frozen = Frozen(copy.deepcopy(model))
        self.taught = taught
