"""A network's state: its tensors, and which of its parameters are frozen."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ckd.errors import ModelError


def model_state(model: nn.Module) -> dict[str, Any]:
    """Parameters and buffers by name, and the names of the parameters without gradients.

    Example:
        >>> sorted(model_state(nn.Linear(2, 1))["tensors"])
        ['bias', 'weight']
    """
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    return {"tensors": dict(model.state_dict()), "frozen": frozen}


def restore_model(model: nn.Module, state: Mapping[str, Any], *, grow: bool = False) -> None:
    """Restore what `model_state` returned, in place.

    Args:
        model: a network of the same kind.
        state: what was saved.
        grow: whether a parameter of another shape is replaced by one of the saved shape, as for a head that grows.

    Raises:
        ModelError: other names, or other shapes.
    """
    tensors = state["tensors"]
    own = model.state_dict()
    differ = sorted(own.keys() ^ tensors.keys())
    if not grow:
        differ += [name for name in own.keys() & tensors.keys() if _shape(own[name]) != _shape(tensors[name])]
    if differ:
        name = differ[0]
        expected = f"{name} {_shape(tensors[name])}" if name in tensors else f"no {name}"
        received = f"{_shape(own[name])}" if name in own else "none"
        fix = "Build the network as it was when that was saved; a head that has grown must have grown again."
        raise ModelError(f"{type(model).__name__} for a checkpoint", expected=expected, received=received, fix=fix)
    resize(model, tensors)
    model.load_state_dict(tensors)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in state["frozen"])


def describe(model: nn.Module) -> str:
    """Which network it is: its class, its number of parameters and a digest of names and shapes.

    >>> describe(nn.Linear(2, 1))
    'Linear, 3 parameters, c5f57c10'
    """
    shapes = [f"{name} {_shape(value)}" for name, value in model.state_dict().items()]
    count = sum(parameter.numel() for parameter in model.parameters())
    return f"{type(model).__name__}, {count} parameters, {zlib.crc32(' '.join(shapes).encode()):08x}"


def _shape(value: Any) -> list[int] | str:
    return list(value.shape) if isinstance(value, Tensor) else type(value).__name__


def resize(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Replace parameters and buffers of other shapes by empty ones of the shapes of `tensors`."""
    for path, owner in model.named_modules():
        for own in (owner._parameters, owner._buffers):
            for name, old in own.items():
                value = tensors.get(f"{path}.{name}".lstrip("."))
                if old is None or value is None or value.shape == old.shape:
                    continue
                fresh = torch.empty(value.shape, dtype=old.dtype, device=old.device)
                own[name] = nn.Parameter(fresh, old.requires_grad) if isinstance(old, nn.Parameter) else fresh
        if isinstance(owner, nn.Linear):
            owner.out_features, owner.in_features = owner.weight.shape
