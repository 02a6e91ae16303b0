"""How many training steps were made, and how far the experience under way is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from avalanche.core import SupervisedPlugin

from ckd.signals import raise_noted

EVERY = 0.2
"""Seconds between two reports, at least."""


class StepCounter(SupervisedPlugin):  # type: ignore[misc]
    """Counts iterations, and reports at most five times a second which part of an experience's iterations are done.

    It looks at nothing but the number of iterations, so that it changes no result.

    Args:
        report: called with the part, from 0 to 1; never if the loader does not know its length.
    """

    def __init__(self, report: Callable[[float], None] | None = None) -> None:
        super().__init__()
        self.steps = 0
        self._report = report
        self._before = 0  # steps of earlier experiences
        self._next = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The counts."""
        return {"steps": self.steps, "before": self._before}

    def load_state_dict(self, state: Mapping[str, Any], strategy: Any) -> None:
        """Restore what `state_dict` returned."""
        self.steps, self._before = state["steps"], state["before"]

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Note where the experience begins."""
        self._before = self.steps

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Count, and report if it is time; end a run whose interrupt was lost."""
        raise_noted()
        self.steps += 1
        if self._report is None or (now := time.perf_counter()) < self._next:
            return
        self._next = now + EVERY
        try:
            iterations = len(strategy.dataloader) * strategy.train_epochs
        except TypeError:  # a loader without a length
            self._report = None
            return
        self._report(min(1.0, (self.steps - self._before) / iterations))
