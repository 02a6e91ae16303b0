"""Features from inside a network: what a module puts out, or what the head takes in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ckd.errors import ModelError, UnknownNameError


@contextmanager
def tapped(model: nn.Module, paths: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Within the context, every forward pass of `model` leaves the output of the modules at `paths` in the mapping.

    The hooks are removed at the end, also after an error, and the tensors keep their graph.

    Args:
        model: the network.
        paths: dotted module paths, as `model.named_modules()` gives them.

    Raises:
        UnknownNameError: a path that is not in the model; the nearest ones are in the message.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
        >>> with tapped(model, ["1"]) as features:
        ...     logits = model(torch.zeros(4, 3))
        >>> features["1"].shape
        torch.Size([4, 5])
    """
    modules = dict(model.named_modules())
    for path in paths:
        if path not in modules:
            raise UnknownNameError.of("module path", path, [name for name in modules if name])
    found: dict[str, Tensor] = {}

    def keep(path: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            found[path] = output.clone()  # a module behind it may work in place

        return hook

    handles = [modules[path].register_forward_hook(keep(path)) for path in paths]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def head_tapped(model: nn.Module) -> Iterator[list[Tensor]]:
    """Within the context, the last entry of the list is what the head took in at the last forward pass, (B, D).

    float32 for half precision; other dtypes as they are.
    """
    found: list[Tensor] = []

    def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        features = inputs[0].flatten(1)
        half = features.dtype in (torch.float16, torch.bfloat16)
        found[:] = [features.float() if half else features.clone()]  # what follows the head may work in place

    handle = head_of(model).register_forward_pre_hook(hook)
    try:
        yield found
    finally:
        handle.remove()


def head_of(model: nn.Module) -> nn.Linear:
    """The linear layer that gives the logits: the last one that the model registers.

    Raises:
        ModelError: a model without a linear layer.
    """
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ModelError(
            "head of the model", expected="a linear layer", received=type(model), fix="Use a recipe without one."
        )
    return linear[-1]
