"""The life cycle that every part of an objective (teacher, memory) shares."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ckd.classes import ClassSet


@dataclass
class Update:
    """What a part sees after each optimiser step.

    Attributes:
        model: the student.
        raw: the stream's samples as stored data (B, ...), untransformed where the loader is resident.
        targets: labels (B,), int64.
        tasks: task labels (B,), int64; None where the benchmark has none.
        logits: the student's answers (B, C) from before the step, detached; NaN where no unit was live.
        experience: index of the experience, counted by boundaries crossed.
    """

    model: nn.Module
    raw: Tensor
    targets: Tensor
    tasks: Tensor | None
    logits: Tensor
    experience: int


class Part:
    """A part does nothing by default; it overrides the moments that it needs."""

    def begin(self, model: nn.Module, seen: ClassSet) -> None:
        """An experience (or online sub-experience) begins; `model` has its head for it, `seen` its classes."""

    def after_update(self, update: Update) -> None:
        """Follow one optimiser step."""

    def end(self, model: nn.Module, taught: ClassSet) -> None:
        """Close an experience: `model` has now learnt the classes `taught`."""

    def nbytes(self) -> dict[str, int]:
        """Bytes of state held for the method, by what they hold."""
        return {}


def tensor_bytes(tensor: torch.Tensor) -> int:
    """Bytes of a tensor's elements."""
    return tensor.numel() * tensor.element_size()
