"""Something is done every so many steps of an experience, such as to evaluate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from avalanche.core import SupervisedPlugin
from torch import nn

from ckd.errors import ConfigError


class WithinExperiences(SupervisedPlugin):  # type: ignore[misc]
    """Hands the student out after every so many training iterations of an experience, but not after its last.

    The strategy is left alone: its loader, mini-batch, mode and clock stay as they are, which `strategy.eval` in the
    middle of an experience changes. Evaluate with `ckd.evaluation.accuracies`, which works on a copy.

    Args:
        every: iterations from one call to the next; they are counted anew in each experience.
        act: called with the student and the iterations made in the experience.

    Raises:
        ConfigError: fewer than 1 iteration.
    """

    def __init__(self, every: int, act: Callable[[nn.Module, int], None]) -> None:
        super().__init__()
        if every < 1:
            raise ConfigError("iterations between evaluations", expected="1 or more", received=every, fix="Try 10.")
        self.every, self._act = every, act
        self._step = 0

    def state_dict(self) -> dict[str, Any]:
        """Iterations of the experience so far."""
        return {"step": self._step}

    def load_state_dict(self, state: Mapping[str, Any], strategy: Any) -> None:
        """Restore what `state_dict` returned."""
        self._step = state["step"]

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Count anew."""
        self._step = 0

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Count, and call if it is time."""
        self._step += 1
        if self._step % self.every == 0 and self._step < len(strategy.dataloader) * strategy.train_epochs:
            self._act(strategy.model, self._step)
