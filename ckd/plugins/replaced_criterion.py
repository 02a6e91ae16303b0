"""The objective's criterion in the place of the strategy's, for one call."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ckd.engine.training_step import TrainingStep
from ckd.errors import ConfigError


class ReplacedCriterion:
    """Swaps `strategy._criterion` between the forward pass and the one call that follows it, and never longer."""

    def __init__(self) -> None:
        self._own: Any = None
        self._uncalled = False

    def __reduce__(self) -> tuple[type[ReplacedCriterion], tuple[()]]:
        return ReplacedCriterion, ()  # what it holds belongs to one step

    def put(self, strategy: Any, step: TrainingStep) -> None:
        """Compute the next call by the objective's criterion."""
        own = self._own = strategy._criterion
        self._uncalled = True

        def criterion(output: Tensor, targets: Tensor) -> Tensor:
            if output is not strategy.mb_output:  # another plugin's own samples, as in GSS_greedy
                value: Tensor = own(output, targets)
                return value
            self.restore(strategy)
            return step.criterion(own)

        strategy._criterion = criterion

    def restore(self, strategy: Any) -> bool:
        """Give the strategy its own criterion back; whether the other had not been called."""
        uncalled, self._uncalled = self._uncalled, False
        if uncalled:
            strategy._criterion, self._own = self._own, None
        return uncalled

    def check_called(self, strategy: Any, name: str) -> None:
        """Raise a ConfigError if the strategy computed its loss without its criterion."""
        if self.restore(strategy):
            raise ConfigError(
                f"objective {name!r} in {type(strategy).__name__}",
                expected="a strategy that calls its criterion on the mini-batch's output and labels",
                received="one that computes its loss in another way",
                fix="Use a recipe that adds terms and leaves the criterion alone, such as der++.",
            )
