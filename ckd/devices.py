"""What is asked of devices, in one place."""

from __future__ import annotations

import functools

import torch
from torch import Tensor


def on(device: torch.device, tensor: Tensor) -> Tensor:
    """The tensor on a device; itself if it is there, which costs a tenth of asking `tensor.to`."""
    return tensor if tensor.device == device else tensor.to(device, non_blocking=True)


@functools.cache
def multiplies_bfloat16(kind: str) -> bool:
    """Whether a kind of device ("cpu", "cuda") has units for products of bfloat16 matrices.

    A processor without them takes some twenty times as long as in float32.
    """
    if kind == "cpu":
        names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, name, lambda: False)() for name in names)
    return kind != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
