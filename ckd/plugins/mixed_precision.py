"""bfloat16 arithmetic for any Avalanche strategy."""

from __future__ import annotations

from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor, nn


class MixedPrecision(SupervisedPlugin):  # type: ignore[misc]
    """Runs the model's forward and backward pass in bfloat16 where torch's autocast deems it safe.

    Weights, optimiser, losses and what the memory stores stay float32, and no loss scaling is needed. The context is
    opened by hooks on the model itself, so copies of it (snapshots, averages) answer in the same arithmetic. Results
    are no longer those of float32, by about three significant digits an operation.
    """

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Equip the model."""
        equip(strategy.model)

    def before_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Equip the network that answers, if it is another."""
        equip(strategy.model)


def equip(model: nn.Module) -> None:
    """Let `model` run under autocast, once."""
    if not any(isinstance(module, nn.Module) and _equipped(module) for module in model.modules()):
        autocast = _Autocast()
        model.register_forward_pre_hook(autocast.enter)
        model.register_forward_hook(autocast.leave, always_call=True)


def _equipped(module: nn.Module) -> bool:
    return any(isinstance(getattr(hook, "__self__", None), _Autocast) for hook in module._forward_pre_hooks.values())


class _Autocast:
    """A context that is open during the forward pass; it is copied and pickled with the model."""

    def __init__(self) -> None:
        self._open: list[torch.autocast] = []

    def enter(self, model: nn.Module, arguments: tuple[Any, ...]) -> None:
        device = next((p.device.type for p in model.parameters()), "cpu")
        context = torch.autocast(device, torch.bfloat16)
        context.__enter__()  # type: ignore[no-untyped-call]
        self._open.append(context)

    def leave(self, model: nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
        self._open.pop().__exit__(None, None, None)
        return _single(output)


def _single(output: Any) -> Any:
    """The model's answers in float32, those of a multi-head model too."""
    if isinstance(output, Tensor):
        return output.float() if output.is_floating_point() else output
    return {key: _single(value) for key, value in output.items()} if isinstance(output, dict) else output
