"""Restricting logits to a set of classes, before any softmax."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ckd.errors import ConfigError
from ckd.outputs import full_precision


def only(logits: Tensor, classes: Tensor | None) -> Tensor:
    """Logits (B, C) with every class outside `classes` at the lowest finite value: no mass, no gradient."""
    logits = full_precision(logits)
    return logits if classes is None else logits.masked_fill(~classes, torch.finfo(logits.dtype).min)


def check_temperature(temperature: float) -> None:
    """Check that a temperature is a finite number above 0.

    Raises:
        ConfigError: it is not.

    Example:
        >>> from ckd.losses import check_temperature
        >>> check_temperature(0)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ckd.errors.ConfigError: temperature: expected a finite number above 0; received 0. ...
    """
    if not 0 < temperature < math.inf:
        raise ConfigError(
            "temperature",
            expected="a finite number above 0",
            received=temperature,
            fix="Use 2 for LwF, 1 to 4 as a rule.",
        )


def check_share(what: str, value: float) -> None:
    """Raise unless a weight between parts of a loss is a finite number, 0 or more."""
    if not 0 <= value < math.inf:
        raise ConfigError(what, expected="a finite number, 0 or more", received=value, fix="Use 1.")


def check_same_shape(student: Tensor, target: Tensor) -> None:
    """Raise unless both are logits (B, C) of one shape."""
    if student.shape != target.shape or student.dim() != 2:
        raise ConfigError(
            "logits to compare",
            expected=f"two tensors of shape (batch, classes), the target's {tuple(target.shape)}",
            received=f"student logits of shape {tuple(student.shape)}",
            fix="Slice both to the classes that they share.",
        )
