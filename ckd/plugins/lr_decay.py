"""A learning rate that falls within each experience and starts afresh at the next."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import LRSchedulerPlugin
from torch.optim.lr_scheduler import LinearLR

from ckd.errors import ConfigError


class LearningRateDecay(SupervisedPlugin):  # type: ignore[misc]
    """Lowers the learning rate of every parameter group in a straight line from its own to `end` times that.

    It spans the iterations of an experience, over all its epochs; in an online stream that is a sub-experience.
    Afterwards the optimiser has its own rates again. A scheduler beside it would fight over them and is refused.

    Args:
        end: share of the learning rate at the last iteration, from 0 to 1.

    Raises:
        ConfigError: a share outside [0, 1]; when training starts, another scheduler.
    """

    def __init__(self, end: float = 0.1) -> None:
        super().__init__()
        if not 0 <= end <= 1:
            raise ConfigError("end of the learning rate", expected="from 0 to 1", received=end, fix="Try 0.1.")
        self.end = end
        self._line: LinearLR | None = None
        self._own: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        """Where on the line the rates are, and the optimiser's own."""
        line = None if self._line is None else self._line.state_dict()
        return {"line": line, "own": [dict(own) for own in self._own]}

    def load_state_dict(self, state: Mapping[str, Any], strategy: Any) -> None:
        """Restore what `state_dict` returned; the optimiser's rates of the moment are the optimiser's state."""
        self._line, self._own = None, [dict(own) for own in state["own"]]
        if state["line"] is not None:
            self._line = LinearLR(strategy.optimizer)
            self._line.load_state_dict(state["line"])

    def before_training(self, strategy: Any, **kwargs: Any) -> None:
        """Refuse another scheduler; give back the rates of an experience that was interrupted."""
        if any(isinstance(plugin, LRSchedulerPlugin) for plugin in strategy.plugins):
            received, fix = "an LRSchedulerPlugin too", "Keep one of the two."
            raise ConfigError("learning rate", expected="one schedule", received=received, fix=fix)
        self.after_training_exp(strategy)

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Set the rates of this iteration; at the first, note the optimiser's own."""
        if self._line is not None:
            self._line.step()
            return
        for group in strategy.optimizer.param_groups:  # copied, as a rate that is a tensor falls in place
            self._own.append(copy.deepcopy({key: group[key] for key in ("lr", "initial_lr") if key in group}))
        last = len(strategy.dataloader) * strategy.train_epochs - 1
        self._line = LinearLR(strategy.optimizer, 1.0, self.end, last)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Give the optimiser its own rates back."""
        if self._line is None:
            return
        for group, own in zip(self._line.optimizer.param_groups, self._own, strict=True):
            del group["initial_lr"]  # what another scheduler would start from, whatever the rate is then
            group.update(own)
        self._line, self._own = None, []
