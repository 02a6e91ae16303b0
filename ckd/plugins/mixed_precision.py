"""bfloat16 arithmetic for any Avalanche strategy."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Mapping
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from avalanche.models import MultiHeadClassifier
from torch import Tensor, nn

from ckd.devices import multiplies_bfloat16
from ckd.errors import ModelError


class SlowPrecision(UserWarning):
    """An arithmetic that this device is slow at."""


class MixedPrecision(SupervisedPlugin):  # type: ignore[misc]
    """Runs the model's forward and backward pass in bfloat16 where torch's autocast deems it safe.

    Weights, optimiser, losses and what the memory stores stay float32, and no loss scaling is needed. Copies of the
    model (snapshots, averages) compute in the same arithmetic, also after the strategy is gone; `release(model)` ends
    it. Results are no longer those of float32, by about three significant digits an operation. It pays where the device
    has units for bfloat16; training on another warns, as it is slower there.

    Raises:
        ModelError: when training starts, a model whose parameters are not float32, or whose `forward` was replaced.
    """

    def __init__(self) -> None:
        super().__init__()
        self._warned = False

    def state_dict(self) -> dict[str, Any]:
        """Nothing: it is in the model's `forward`."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any], strategy: Any) -> None:
        """Nothing to restore."""

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Equip the model."""
        kind = torch.device(strategy.device).type
        if not multiplies_bfloat16(kind) and not self._warned:
            self._warned = True
            warnings.warn(f"this {kind} has no units for bfloat16: float32 is faster", SlowPrecision, stacklevel=2)
        equip(strategy.model)

    def before_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Equip the network that predicts, if it is another."""
        equip(strategy.model)


def equip(model: nn.Module) -> None:
    """Let `model` compute under autocast, once; in place, by a `forward` of its own."""
    forwards = [vars(module).get("forward") for module in model.modules()]
    if any(isinstance(forward, _Forward) and forward.reduced for forward in forwards):
        return
    others = {p.dtype for p in model.parameters()} - {torch.float32}
    if others:
        raise ModelError(
            "model in mixed precision", expected="float32 parameters", received=others.pop(), fix="Call model.float()."
        )
    if not isinstance(forwards[0], _Forward | None):
        expected, fix = "the forward method of its class", "Move it into the class."
        raise ModelError("model in mixed precision", expected=expected, received=forwards[0], fix=fix)
    model.forward = _Forward(model, reduced=True)
    for module in model.modules():
        if isinstance(module, MultiHeadClassifier):  # it writes its heads' outputs into a float32 tensor
            module.forward = _Forward(module, reduced=False)


def release(model: nn.Module) -> None:
    """Let `model` compute in its own precision again."""
    for module in model.modules():
        if isinstance(vars(module).get("forward"), _Forward):
            del module.forward


class _Forward:
    """Calls the forward method of a module's class in bfloat16, or in float32 within that; a copy has its own.

    A `with` that spans the call ends however the call ends. Torch skips even the hooks that it always calls when Ctrl-C
    interrupts a forward pass.
    """

    def __init__(self, module: nn.Module, reduced: bool) -> None:
        self.module = weakref.ref(module)  # a cycle would keep replaced snapshots until the garbage collector runs
        self.reduced = reduced

    def __reduce__(self) -> tuple[Any, ...]:
        return _Forward, (self.module(), self.reduced)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        module: Any = self.module()
        device = next((p.device.type for p in module.parameters()), "cpu")
        with torch.autocast(device, torch.bfloat16, enabled=self.reduced):
            if not self.reduced:
                arguments, keywords = _single((arguments, keywords))
            return _single(type(module).forward(module, *arguments, **keywords))


def _single(output: Any) -> Any:
    """The model's outputs in float32, also those in a tuple or, by task, in a dictionary."""
    if isinstance(output, Tensor):
        return output.float() if output.is_floating_point() else output
    if isinstance(output, dict):
        return {key: _single(value) for key, value in output.items()}
    return tuple(map(_single, output)) if isinstance(output, tuple) else output
