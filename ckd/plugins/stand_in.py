"""A criterion that stands in for the strategy's, for one call."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ckd.errors import ConfigError
from ckd.objective import Step


class StandIn:
    """Swaps `strategy._criterion` between the forward pass and the one call that follows it, and never longer."""

    def __init__(self) -> None:
        self._own: Any = None
        self._waiting = False

    def __reduce__(self) -> tuple[type[StandIn], tuple[()]]:
        return StandIn, ()  # what it holds belongs to one step

    def take_place(self, strategy: Any, step: Step) -> None:
        """Let the objective's criterion answer the next call."""
        own = self._own = strategy._criterion
        self._waiting = True

        def criterion(output: Tensor, targets: Tensor) -> Tensor:
            self.step_back(strategy)
            return step.criterion(own)

        strategy._criterion = criterion

    def step_back(self, strategy: Any) -> bool:
        """Give the strategy its own criterion back; whether it had not been called."""
        waited, self._waiting = self._waiting, False
        if waited:
            strategy._criterion, self._own = self._own, None
        return waited

    def check_called(self, strategy: Any, name: str) -> None:
        """Raise a ConfigError if the strategy computed its loss without its criterion."""
        if self.step_back(strategy):
            raise ConfigError(
                f"objective {name!r} in {type(strategy).__name__}",
                expected="a strategy that calls its criterion on the mini-batch's output and labels",
                received="one that computes its loss in another way",
                fix="Use a recipe that adds terms and leaves the criterion alone, such as der++.",
            )
