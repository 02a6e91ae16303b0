"""Logits with the class axis last, one row for each place that has a label: the only file that knows of axes.

(B, C) stays as it is, (B, T, C) becomes (B·T, C), and dense (B, C, H, W) becomes (B·H·W, C). Labels are (B,), (B, T)
and (B, H, W).
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ckd.objective.batch import Batch
from ckd.outputs import class_axis


def n_classes(logits: Tensor) -> int:
    """C."""
    return logits.shape[class_axis(logits)]


def by_place(logits: Tensor) -> Tensor:
    """(B·P, C) for logits of P places each."""
    if logits.dim() == 2:
        return logits
    last = logits.movedim(1, -1) if logits.dim() == 4 else logits
    return last.flatten(0, -2)


def mask_by_place(mask: Tensor | None, logits: Tensor) -> Tensor | None:
    """A mask of classes, bool (C,), (B, C) or in the shape of the `logits`, as (C,) or (B·P, C)."""
    if mask is None or mask.dim() == 1 or logits.dim() == 2:
        return mask
    if mask.dim() == logits.dim():
        return by_place(mask)
    return mask.repeat_interleave(places(logits), 0)


def beside(mask: Tensor, logits: Tensor) -> Tensor:
    """A mask of classes, bool (C,) or (B, C), in a shape that broadcasts to the `logits`."""
    if logits.dim() == 4:
        return mask[..., None, None]
    return mask[:, None] if logits.dim() == 3 and mask.dim() == 2 else mask


def batch_by_place(batch: Batch, logits: Tensor) -> Batch:
    """Labels and task labels (B·P,)."""
    if logits.dim() == 2:
        return batch
    tasks = None if batch.tasks is None else batch.tasks.repeat_interleave(places(logits))
    return replace(batch, targets=batch.targets.flatten(), tasks=tasks)


def by_sample(losses: Tensor, logits: Tensor) -> Tensor:
    """Losses (B·P,) as the mean of each sample, (B,)."""
    return losses if logits.dim() == 2 else losses.view(logits.shape[0], -1).mean(1)


def places(logits: Tensor) -> int:
    """P."""
    return logits[0].numel() // n_classes(logits)
