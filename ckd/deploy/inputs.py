"""What a network is shown: one tensor, or several."""

from __future__ import annotations

import torch
from torch import Tensor

from ckd.errors import ConfigError

Inputs = Tensor | tuple[Tensor, ...]
"""One tensor (B, ...), or a tuple in the order in which `forward` takes them, as (token ids, mask)."""


def as_tuple(example: Inputs) -> tuple[Tensor, ...]:
    """The tensors of an example.

    Raises:
        ConfigError: not tensors, or not all with the same number of samples, at least one.
    """
    tensors = example if isinstance(example, tuple) else (example,)
    fits = tensors and all(isinstance(tensor, Tensor) and tensor.dim() for tensor in tensors)
    if not fits or len({len(tensor) for tensor in tensors}) > 1 or not len(tensors[0]):
        received = ", ".join(str(getattr(one, "shape", type(one))) for one in tensors) or "none"
        expected = "a tensor (B, ...), or a tuple of tensors with the same B, at least 1"
        raise ConfigError("example", expected=expected, received=received, fix="Add the batch axis: example[None].")
    return tensors


def of_size(tensors: tuple[Tensor, ...], n: int) -> tuple[Tensor, ...]:
    """`n` samples of these, from the first again where there are fewer."""
    rows = torch.arange(n) % len(tensors[0])
    return tuple(tensor[rows.to(tensor.device)] for tensor in tensors)
