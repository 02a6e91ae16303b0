"""The moment of a training step: the one place that knows which experience runs and which classes are old."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ckd.classes import Classes


@dataclass
class Moment:
    """Where in the run a step is; schedules of weights are functions of it.

    Attributes:
        experience: index of the experience, counted by task boundaries.
        iteration: optimiser steps taken before this one, over all experiences.
        classes: which classes are old, current and seen.
    """

    experience: int = 0
    iteration: int = 0
    classes: Classes = field(default_factory=Classes)

    def end_experience(self) -> None:
        """Cross a task boundary: current classes become old."""
        self.classes.end()
        self.experience += 1

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"experience": self.experience, "iteration": self.iteration, "classes": self.classes.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.experience, self.iteration = state["experience"], state["iteration"]
        self.classes.load_state_dict(state["classes"])
