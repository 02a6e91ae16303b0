"""What a model's head can say: which of its units are live, and whether it has one for each task."""

from __future__ import annotations

from typing import Any

import torch
from avalanche.models import IncrementalClassifier, MultiHeadClassifier
from avalanche.models.utils import avalanche_forward, is_multi_task_module
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from ckd.classes import ClassSet

RANDOM_OR_JOINT = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, nn.RReLU, StochasticDepth)


def ask(model: nn.Module, inputs: Tensor, tasks: Tensor | None) -> Tensor:
    """Logits (B, C) of an Avalanche model, which takes task labels if it is a multi-task module."""
    logits: Tensor = model(inputs) if tasks is None else avalanche_forward(model, inputs, tasks)
    return logits


def has_head_per_task(model: nn.Module) -> bool:
    """Whether the model answers by task label."""
    return bool(is_multi_task_module(model))


def live_units(model: nn.Module) -> ClassSet | None:
    """The units that Avalanche's masked heads let speak at present; None where every unit does.

    A masked unit answers -1000, which is no opinion and must not be stored as one.
    """
    for module in model.modules():
        if isinstance(module, MultiHeadClassifier):
            return ClassSet({int(t): _live_in_task(module, t) for t in module.classifiers}, per_task=True)
        if isinstance(module, IncrementalClassifier) and module.masking:
            return ClassSet({0: frozenset(module.active_units.nonzero()[:, 0].tolist())})
    return None


def _live_in_task(head: Any, task: str) -> frozenset[int]:
    if not head.masking:
        return frozenset(range(head.classifiers[task].classifier.out_features))
    units: Tensor = getattr(head, f"active_units_T{task}")
    return frozenset(units.nonzero()[:, 0].tolist())


def forget_dead(logits: Tensor, live: ClassSet | None, tasks: Tensor | None) -> Tensor:
    """Logits (B, C) with NaN where no unit is live."""
    mask = None if live is None else live.mask(logits.shape[1], tasks, logits.device)
    return logits if mask is None else logits.masked_fill(~mask, torch.nan)


def answers_each_alone(model: nn.Module) -> bool:
    """Whether the answer to a sample is the same whatever else is asked with it and however often.

    What a forward method calls without a module of its own (functional dropout) is not seen; a sample that is asked
    about once then has one mask where it would have had two.
    """
    return not any(
        isinstance(module, RANDOM_OR_JOINT)
        or (isinstance(module, nn.RNNBase | nn.MultiheadAttention) and module.dropout > 0)
        for module in model.modules()
    )


def is_compiled(model: nn.Module) -> bool:
    """Whether it runs as compiled code, which is made anew for other sizes of a batch."""
    return model._compiled_call_impl is not None or hasattr(model, "_orig_mod")


def has_batchnorm(model: nn.Module) -> bool:
    """Whether the model's answers to a batch depend on the other samples in it."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
