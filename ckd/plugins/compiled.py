"""torch.compile for any Avalanche strategy."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import nn

from ckd.errors import ConfigError
from ckd.plugins.distillation import SelfDistillation


class CompileWarning(UserWarning):
    """The model runs as it is: it could not be compiled."""


class Compiled(SupervisedPlugin):  # type: ignore[misc]
    """Compiles the model in place; the optimiser, plugins and checkpoints see the model that they know.

    A new shape of batch or head is compiled anew, until torch's own limit (`torch._dynamo.config.recompile_limit`),
    beyond which it runs as it is. Copies of the model (snapshots, averages) are not compiled. If the compiler fails,
    the model runs uncompiled and a `CompileWarning` says why.

    On a CPU the networks of `ckd.bench` were slower with it than without, and the first step took half a minute.

    Args:
        backend: as for `torch.compile`.
    """

    def __init__(self, backend: str | Callable[..., Any] = "inductor") -> None:
        super().__init__()
        self.backend = backend
        self.failed: str | None = None
        """Why the model runs uncompiled, if it does."""
        self.graphs = 0
        """Graphs compiled for the model so far: one for each mode and kind of shape that it met."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the model is compiled anew."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any], strategy: Any) -> None:
        """Nothing to restore."""

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Compile, once.

        Raises:
            ConfigError: beside an objective that looks inside the model, which compiled code does not allow.
        """
        for plugin in strategy.plugins:
            if isinstance(plugin, SelfDistillation) and any(
                not term.output.is_logits for term in plugin.objective.all_terms
            ):
                raise ConfigError(
                    f"objective {plugin.objective.name!r} beside Compiled",
                    expected="terms over the model's logits",
                    received="one over its features",
                    fix="Leave Compiled out.",
                )
        model: nn.Module = strategy.model
        if model._compiled_call_impl is None and self.failed is None:
            model._compiled_call_impl = _OrPlain(self, model, torch.compile(_call_of(model), backend=self.backend))


def _call_of(model: nn.Module) -> Callable[..., Any]:
    """What `nn.Module.compile` compiles, in a frame of our own where PyTorch 2.11 would pass over its, in torch.nn."""
    if not type(model).__module__.startswith("torch.nn."):
        return model._call_impl

    def call(*arguments: Any, **keywords: Any) -> Any:
        return model._call_impl(*arguments, **keywords)  # type: ignore[no-untyped-call]

    return call


class _OrPlain:
    """A compiled call; if compiling fails, the plain one from then on."""

    def __init__(self, plugin: Compiled, model: nn.Module, compiled: Callable[..., Any]) -> None:
        self.plugin, self.model, self.compiled = plugin, model, compiled

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        from torch._dynamo.exc import TorchDynamoException
        from torch._dynamo.utils import counters
        from torch._inductor.exc import InductorError

        before = counters["stats"]["unique_graphs"]
        try:
            output = self.compiled(*arguments, **keywords)
            self.plugin.graphs += counters["stats"]["unique_graphs"] - before
            return output
        except (TorchDynamoException, InductorError) as error:
            self.plugin.failed = " ".join(str(error).split())[:300]
            warnings.warn(f"the model runs uncompiled: {self.plugin.failed}", CompileWarning, stacklevel=2)
            self.model._compiled_call_impl = None
            return self.model(*arguments, **keywords)
