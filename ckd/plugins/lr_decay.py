"""A learning rate that falls within each experience and starts afresh at the next."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import LRSchedulerPlugin
from torch.optim.lr_scheduler import LinearLR, LRScheduler, MultiStepLR

from ckd.errors import ConfigError
from ckd.numbers import check_whole


class LearningRateDecay(SupervisedPlugin):  # type: ignore[misc]
    """Lowers the learning rate of every parameter group in a straight line from its own to `end` times that.

    It spans the iterations of an experience, over all its epochs; in an online stream that is a sub-experience.
    Afterwards the optimiser has its own rates again. A scheduler beside it would fight over them and is refused.

    Args:
        end: share of the learning rate at the last iteration, from 0 to 1.
        steps: epochs of an experience, if the rate is to fall in steps instead: after each to `end` times what it was.

    Raises:
        ConfigError: a share outside [0, 1], epochs below 1; when training starts, another scheduler or fewer epochs.

    Example:
        >>> line, published = LearningRateDecay(0.0), LearningRateDecay(0.1, steps=(150, 180, 210))
    """

    def __init__(self, end: float = 0.1, *, steps: Sequence[int] = ()) -> None:
        super().__init__()
        if not 0 <= end <= 1:
            raise ConfigError("end of the learning rate", expected="from 0 to 1", received=end, fix="Try 0.1.")
        for step in steps:
            check_whole("epoch of a step of the learning rate", step, least=1)
        self.end, self.steps = end, tuple(steps)
        self._schedule: LRScheduler | None = None
        self._own: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        """How far the schedule is, and the optimiser's own rates."""
        schedule = None if self._schedule is None else self._schedule.state_dict()
        return {"schedule": schedule, "own": [dict(own) for own in self._own]}

    def load_state_dict(self, state: Mapping[str, Any], strategy: Any) -> None:
        """Restore what `state_dict` returned; the optimiser's rates of the moment are the optimiser's state."""
        self._schedule, self._own = None, [dict(own) for own in state["own"]]
        if state["schedule"] is not None:
            self._schedule = self._scheduler(strategy.optimizer, 1, 1)
            self._schedule.load_state_dict(state["schedule"])

    def before_training(self, strategy: Any, **kwargs: Any) -> None:
        """Refuse another scheduler and steps that never come; give back the rates of an interrupted experience."""
        if any(isinstance(plugin, LRSchedulerPlugin) for plugin in strategy.plugins):
            received, fix = "an LRSchedulerPlugin too", "Keep one of the two."
            raise ConfigError("learning rate", expected="one schedule", received=received, fix=fix)
        if self.steps and max(self.steps) >= strategy.train_epochs:
            late, expected = max(self.steps), f"epochs below {strategy.train_epochs}, the last"
            raise ConfigError("steps of the learning rate", expected=expected, received=late, fix="Train longer.")
        self.after_training_exp(strategy)

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Set the rates of this iteration; at the first, note the optimiser's own."""
        if self._schedule is not None:
            self._schedule.step()
            return
        for group in strategy.optimizer.param_groups:  # copied, as a rate that is a tensor falls in place
            self._own.append(copy.deepcopy({key: group[key] for key in ("lr", "initial_lr") if key in group}))
        self._schedule = self._scheduler(strategy.optimizer, len(strategy.dataloader), strategy.train_epochs)

    def _scheduler(self, optimizer: torch.optim.Optimizer, iterations: int, epochs: int) -> LRScheduler:
        """Of so many iterations an epoch."""
        if self.steps:
            return MultiStepLR(optimizer, [step * iterations for step in self.steps], self.end)
        return LinearLR(optimizer, 1.0, self.end, iterations * epochs - 1)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Give the optimiser its own rates back."""
        if self._schedule is None:
            return
        for group, own in zip(self._schedule.optimizer.param_groups, self._own, strict=True):
            del group["initial_lr"]  # what another scheduler would start from, whatever the rate is then
            group.update(own)
        self._schedule, self._own = None, []
