"""What networks of token ids share: the id of padding, and means over the other positions."""

from __future__ import annotations

from torch import Tensor

from ckd.errors import ConfigError
from ckd.networks.shapes import Shape

PADDING = 0
"""The id behind a text's last token."""


def token_shape(shape: Shape, vocabulary: int) -> int:
    """The length of a text, if the shape is that of token ids.

    Raises:
        ConfigError: inputs that are no token ids.
    """
    if len(shape) != 1 or vocabulary < 1:
        fix = "Use the mlp, or a convolutional network for images."
        expected, received = "token ids (T,)", f"inputs of shape {shape} and a vocabulary of {vocabulary}"
        raise ConfigError("network of text", expected=expected, received=received, fix=fix)
    return shape[0]


def mean_of(states: Tensor, real: Tensor) -> Tensor:
    """The mean (B, D) of the states (B, T, D) at real positions (B, T); 0 where there are none."""
    weights = real.to(states.dtype)
    total = (states * weights[..., None]).sum(1)
    return total / weights.sum(1, keepdim=True).clamp(min=1)
