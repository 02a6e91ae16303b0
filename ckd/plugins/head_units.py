"""What Avalanche's heads are: one for each task or not, and which of their units are active."""

from __future__ import annotations

from typing import Any

from avalanche.models import IncrementalClassifier, MultiHeadClassifier
from avalanche.models.utils import is_multi_task_module
from torch import Tensor, nn

from ckd.classes import ClassSet


def has_head_per_task(model: nn.Module) -> bool:
    """Whether the model takes task labels."""
    return bool(is_multi_task_module(model))


def active_units(model: nn.Module) -> ClassSet | None:
    """The active units of Avalanche's masked heads; None where every unit is.

    A masked unit gives -1000, which says nothing about its class and must not be stored as a logit.
    """
    for module in model.modules():
        if isinstance(module, MultiHeadClassifier):
            return ClassSet({int(t): _active_in_task(module, t) for t in module.classifiers}, per_task=True)
        if isinstance(module, IncrementalClassifier) and module.masking:
            return ClassSet({0: frozenset(module.active_units.nonzero()[:, 0].tolist())})
    return None


def _active_in_task(head: Any, task: str) -> frozenset[int]:
    if not head.masking:
        return frozenset(range(head.classifiers[task].classifier.out_features))
    units: Tensor = getattr(head, f"active_units_T{task}")
    return frozenset(units.nonzero()[:, 0].tolist())
