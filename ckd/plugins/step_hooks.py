"""Whether a strategy calls the hooks of a training step, and leaves its mini-batch alone between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from avalanche.core import BaseSGDPlugin
from avalanche.training.templates.base_sgd import BaseSGDTemplate
from torch import Tensor

from ckd.data.resident_loader import ResidentLoader
from ckd.errors import ConfigError

HOOKS = ("before_forward", "after_forward", "before_backward", "after_update")


class StepHooks:
    """Notices a training loop that leaves out hooks, without which a method would be left out unsaid."""

    def __init__(self) -> None:
        self._met = 0  # hooks of the step under way
        self._steps = 0

    def state_dict(self) -> dict[str, Any]:
        """The steps since the experience or the epoch began."""
        return {"steps": self._steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, between two steps."""
        self._met, self._steps = 0, state["steps"]

    def start(self) -> None:
        """An experience or an epoch begins."""
        self._met = self._steps = 0

    def meet(self, hook: str, strategy: Any, name: str) -> None:
        """Note a hook.

        Raises:
            ConfigError: one that should come before it was left out.
        """
        if hook == HOOKS[0]:
            self._met = 0  # also after a step that failed half-way
        if hook != HOOKS[self._met]:
            _refuse(strategy, name, HOOKS[self._met])
        self._met += 1
        if self._met == len(HOOKS):
            self._met = 0
            self._steps += 1

    def check(self, strategy: Any, name: str) -> None:
        """For after_training_iteration and after_training_epoch.

        Raises:
            ConfigError: there were mini-batches, and no complete step.
        """
        if self._met:
            _refuse(strategy, name, HOOKS[self._met])
        if not self._steps and not strategy._stop_training and _length(strategy.dataloader):
            _refuse(strategy, name, HOOKS[0])

    def check_experience(self, strategy: Any, name: str) -> None:
        """For after_training_exp: the same where the epochs are the strategy's own and may have no hooks either."""
        if type(strategy)._train_exp is not BaseSGDTemplate._train_exp:
            self.check(strategy, name)


def check_minibatch(strategy: Any, name: str, raw: Tensor | None, *, stores_raw: bool) -> None:
    """For before_forward.

    Args:
        strategy: with the mini-batch.
        name: of the objective.
        raw: the raw samples behind its inputs, None if they are not known.
        stores_raw: whether the memory stores raw samples.

    Raises:
        ConfigError: a mini-batch whose samples and labels do not belong together, or that was changed since it was
            served and is to be stored raw.
    """
    inputs, labels = strategy.mbatch[:2]
    if inputs.shape[0] != labels.shape[0]:
        raise ConfigError(
            f"objective {name!r} in {type(strategy).__name__}",
            expected="a label for each sample of the mini-batch",
            received=f"{inputs.shape[0]} samples and {labels.shape[0]} labels",
            fix="Use a strategy that shows its model the samples of the mini-batch.",
        )
    loader = strategy.dataloader
    if stores_raw and raw is None and isinstance(loader, ResidentLoader) and loader.preparation.steps:
        raise ConfigError(
            f"objective {name!r} in {type(strategy).__name__}",
            expected="the samples that the loader served, which the memory stores untransformed",
            received="others, which the strategy or a plugin put in their place",
            fix="Write SelfDistillation(objective, resident=False), which stores them as they arrive.",
        )


def check_outputs_of(strategy: Any, name: str, shown: int) -> None:
    """For after_forward.

    Raises:
        ConfigError: the model returned logits for another number of samples than the `shown` ones.
    """
    output = strategy.mb_output
    if isinstance(output, Tensor) and output.shape[:1] != (shown,):
        raise ConfigError(
            f"objective {name!r} in {type(strategy).__name__}",
            expected=f"logits for the {shown} samples of the mini-batch",
            received=f"a tensor of shape {tuple(output.shape)}",
            fix="Use a strategy that changes neither the mini-batch nor the outputs between before_forward and "
            "after_forward.",
        )


def others_would_see(strategy: Any, plugin: Any) -> bool:
    """Whether hooks of other plugins come between those of `plugin` around the forward pass.

    They would see a mini-batch to which `plugin` has appended samples, and take them for the stream's.
    """
    at = strategy.plugins.index(plugin)
    after, before = strategy.plugins[at + 1 :], strategy.plugins[:at]
    return any(_has(p, "before_forward") for p in after) or any(_has(p, "after_forward") for p in before)


def _has(plugin: Any, hook: str) -> bool:
    """Whether the class of the plugin has the hook and does not merely inherit Avalanche's empty one."""
    return getattr(type(plugin), hook, None) not in (None, getattr(BaseSGDPlugin, hook))


def _length(loader: Any) -> int:
    """Mini-batches of an epoch; 0 where that cannot be known."""
    try:
        return len(loader)
    except TypeError:
        return 0


def _refuse(strategy: Any, name: str, hook: str) -> None:
    raise ConfigError(
        f"objective {name!r} in {type(strategy).__name__}",
        expected=f"a training loop that calls the hooks {', '.join(HOOKS)} at every iteration",
        received=f"one without {hook}",
        fix="Use a strategy with Avalanche's own training_epoch, or call the hooks in yours.",
    )
