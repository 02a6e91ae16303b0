"""What is asked of devices, in one place."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def on(device: torch.device, tensor: Tensor) -> Tensor:
    """The tensor on a device; itself if it is there, which costs a tenth of asking `tensor.to`.

    A copy to an accelerator is not waited for: what is done there comes after it. One to the CPU is.
    """
    return tensor if tensor.device == device else tensor.to(device, non_blocking=device.type != "cpu")


def device_of(model: nn.Module) -> torch.device:
    """Where a network computes: the device of its first parameter, the CPU if it has none."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def moved(state: Any, device: torch.device) -> Any:
    """A state of nested dictionaries and lists with copies of its tensors, all on one device."""
    if isinstance(state, Tensor):
        return state.to(device, copy=True)
    if isinstance(state, Mapping):
        return {name: moved(value, device) for name, value in state.items()}
    return [moved(value, device) for value in state] if isinstance(state, list) else state


@functools.cache
def multiplies_bfloat16(kind: str) -> bool:
    """Whether a kind of device ("cpu", "cuda") has units for products of bfloat16 matrices.

    A processor without them takes some twenty times as long as in float32.
    """
    if kind == "cpu":
        names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, name, lambda: False)() for name in names)
    return kind != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
