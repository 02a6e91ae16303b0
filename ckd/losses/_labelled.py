"""Losses of two networks that also want the labels."""

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
    if told is not None:
        return bool(told)
    try:
        return "labels" in inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss).parameters
    except (TypeError, ValueError):
        return False
