"""Losses of two networks that also want the labels, or what the networks were shown."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn


def takes_labels(loss: Any) -> bool:
    """Whether a loss is called as `loss(student, target, labels=..., classes=...)`, as `dkd` is.

    Example:
        >>> from functools import partial
        >>> from ckd.losses import Standardised, dkd, kd, takes_labels
        >>> takes_labels(partial(dkd, temperature=2.0)), takes_labels(Standardised(dkd)), takes_labels(kd)
        (True, True, False)
    """
    told = getattr(loss, "takes_labels", None)
    return _takes(loss, "labels") if told is None else bool(told)


def takes_inputs(loss: Any) -> bool:
    """Whether a loss is called as `loss(student, target, inputs=...)`, as `token_mse` is.

    Example:
        >>> from ckd.losses import feature_mse, takes_inputs, token_mse
        >>> takes_inputs(token_mse), takes_inputs(feature_mse)
        (True, False)
    """
    return _takes(loss, "inputs")


def _takes(loss: Any, name: str) -> bool:
    try:
        return name in inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss).parameters
    except (TypeError, ValueError):
        return False
