"""What the owner of a training loop gives the engine, read and checked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ckd.classes import ClassSet
from ckd.errors import DataError, ModelError
from ckd.objective.class_axis import beside, by_place, n_classes
from ckd.rows import Rows


class BoundaryWarning(UserWarning):
    """A part of an objective waits for a task boundary that is not marked."""


def as_stored(raw: Tensor, generator: torch.Generator) -> Tensor:
    """The usual preparation of stored samples: none."""
    return raw


def classes_by_task(classes: Iterable[int] | Mapping[int, Iterable[int]]) -> dict[int, frozenset[int]]:
    """Class indices by task label, 0 where there is none.

    Raises:
        DataError: no indices, or a negative one.
    """
    by_task = classes if isinstance(classes, Mapping) else {0: classes}
    try:
        found = {int(task): frozenset(map(int, some)) for task, some in by_task.items()}
    except (TypeError, ValueError) as error:
        expected, fix = (
            "class indices, or those of each task",
            "For example begin(range(10)) or begin(labels.unique()).",
        )
        raise DataError("classes of the experience", expected=expected, received=repr(classes), fix=fix) from error
    lowest = min((c for some in found.values() for c in some), default=0)
    if lowest < 0:
        fix, received = "Number the classes 0, 1, 2, ...", f"a label {lowest}"
        raise DataError("labels of the experience", expected="class indices from 0", received=received, fix=fix)
    return found


def rows_of(data: Any, experience: int) -> Iterator[Rows]:
    """An experience's samples: from a pair of tensors, what iterates over pairs or rows, or a function that returns it.

    Raises:
        DataError: anything else.
    """
    given = data() if callable(data) else data
    one_batch = isinstance(given, tuple | list) and len(given) > 0 and isinstance(given[0], Tensor)
    try:
        for batch in [given] if one_batch else () if given is None else given:
            yield batch if isinstance(batch, Rows) else _rows(*batch, experience=experience)
    except (TypeError, ValueError, AttributeError) as error:
        expected, fix = "(inputs, labels), or batches of them", "Give engine.end tensors or a DataLoader."
        raise DataError("data of the experience", expected=expected, received=type(given), fix=fix) from error


def _rows(inputs: Tensor, labels: Tensor, tasks: Tensor | None = None, *, experience: int) -> Rows:
    zeros = torch.zeros(len(labels), dtype=torch.int64, device=labels.device)
    return Rows(inputs, labels, zeros if tasks is None else tasks, torch.full_like(zeros, experience))


def mean_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy, a mean over the batch and all places: logits and labels as `Engine.loss` takes them."""
    return F.cross_entropy(by_place(logits), targets if targets.is_floating_point() else targets.flatten())


def check_outputs(outputs: Any, seen: ClassSet, needs_one_label: Sequence[str] = ()) -> None:
    """Raise unless the student returned logits wide enough for the classes seen.

    Args:
        outputs: what it returned.
        seen: the classes.
        needs_one_label: parts that do with logits (B, C) only, by name.

    Raises:
        ModelError: not a tensor (B, C), (B, T, C) or (B, C, H, W); or several labels for a sample, where a part cannot
            do with them.
        DataError: a class beyond the head.
    """
    if not isinstance(outputs, Tensor) or outputs.dim() not in (2, 3, 4):
        shape = f"a tensor of shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs)
        raise ModelError(
            "output of the model",
            expected="one tensor of logits, (batch, classes)",
            received=shape,
            fix="Wrap the model so that its forward returns the logits alone.",
        )
    if outputs.dim() > 2 and needs_one_label:
        raise ModelError(
            "output of the model",
            expected=f"logits (batch, classes): {needs_one_label[0]} works with one label for each sample",
            received=f"a tensor of shape {tuple(outputs.shape)}",
            fix="Use a recipe that works with many, such as er, der++ or lwf.",
        )
    check_label(max(seen.indices, default=-1), outputs)


def check_label(highest: int, logits: Tensor) -> None:
    """Raise a DataError for a label that is beyond the head."""
    width = n_classes(logits)
    if highest >= width:
        raise DataError(
            "labels of the experience",
            expected=f"class indices from 0 to {width - 1}, the width of the head",
            received=f"a label {highest}",
            fix="Widen the head (Avalanche's IncrementalClassifier grows by itself) or renumber the classes.",
        )


def without_inactive(logits: Tensor, active: ClassSet | None, tasks: Tensor | None) -> Tensor:
    """Logits (B, C) with NaN for inactive units, which say nothing and must not be stored as if they did."""
    mask = None if active is None else active.mask(n_classes(logits), tasks, logits.device)
    return logits if mask is None else logits.masked_fill(~beside(mask, logits), torch.nan)


def rate_of(optimizer: torch.optim.Optimizer) -> float:
    """How far a step goes along a steady gradient: the largest lr / (1 - momentum) of its groups; 0 without an lr.

    Infinity for a momentum of 1 or more, which never comes to rest.
    """
    return max(_rate(group.get("lr", 0.0), group.get("momentum", 0.0)) for group in optimizer.param_groups)


def _rate(lr: float, momentum: float) -> float:
    return float(lr / (1 - momentum)) if momentum < 1 else math.inf
