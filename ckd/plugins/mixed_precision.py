"""bfloat16 arithmetic for any Avalanche strategy."""

from __future__ import annotations

from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from avalanche.models import MultiHeadClassifier
from torch import Tensor, nn

from ckd.errors import ModelError


class MixedPrecision(SupervisedPlugin):  # type: ignore[misc]
    """Runs the model's forward and backward pass in bfloat16 where torch's autocast deems it safe.

    Weights, optimiser, losses and what the memory stores stay float32, and no loss scaling is needed. Copies of the
    model (snapshots, averages) answer in the same arithmetic, also after the strategy is gone; `release(model)` ends
    it. Results are no longer those of float32, by about three significant digits an operation.

    Raises:
        ModelError: when training starts, a model whose parameters are not float32.
    """

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Equip the model."""
        equip(strategy.model)

    def before_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Equip the network that answers, if it is another."""
        equip(strategy.model)


def equip(model: nn.Module) -> None:
    """Let `model` compute under autocast, once; in place, by a class of its own."""
    if any(isinstance(module, _Autocast) for module in model.modules()):
        return
    others = {p.dtype for p in model.parameters()} - {torch.float32}
    if others:
        raise ModelError(
            "model in mixed precision", expected="float32 parameters", received=others.pop(), fix="Call model.float()."
        )
    for module in model.modules():
        if isinstance(module, MultiHeadClassifier):  # it writes its heads' answers into a float32 tensor
            module.__class__ = _derived(_FullPrecision, type(module))
    model.__class__ = _derived(_Autocast, type(model))


def release(model: nn.Module) -> None:
    """Let `model` compute in its own precision again."""
    for module in model.modules():
        if isinstance(module, _Derived):
            module.__class__ = type(module).__bases__[1]


class _Derived:
    """What makes instances of a class that is derived at run time copy and pickle as those of its base."""

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _restore, type(self).__bases__, self.__dict__


class _Autocast(_Derived):
    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        device = next((p.device.type for p in self.parameters()), "cpu")  # type: ignore[attr-defined]
        with torch.autocast(device, torch.bfloat16):
            output = super().forward(*arguments, **keywords)  # type: ignore[misc]
        return _single(output)


class _FullPrecision(_Derived):
    def forward(self, inputs: Tensor, *arguments: Any, **keywords: Any) -> Any:
        with torch.autocast(inputs.device.type, enabled=False):
            return super().forward(inputs.float(), *arguments, **keywords)  # type: ignore[misc]


_classes: dict[tuple[type, type], type] = {}


def _derived(kind: type, base: type) -> type:
    """The class of the two, the same for each call; it goes by the name of `base`."""
    if (kind, base) not in _classes:
        names = {"__module__": base.__module__, "__qualname__": base.__qualname__}
        _classes[kind, base] = type(base.__name__, (kind, base), names)
    return _classes[kind, base]


def _restore(kind: type, base: type) -> Any:
    made: Any = _derived(kind, base)
    return made.__new__(made)


def _single(output: Any) -> Any:
    """The model's answers in float32, also those in a tuple or, by task, in a dictionary."""
    if isinstance(output, Tensor):
        return output.float() if output.is_floating_point() else output
    if isinstance(output, dict):
        return {key: _single(value) for key, value in output.items()}
    return tuple(map(_single, output)) if isinstance(output, tuple) else output
