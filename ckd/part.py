"""The life cycle that every part of an objective (teacher, memory, answer) shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ckd.classes import ClassSet
from ckd.rows import Rows
from ckd.taps import head_tapped

Ask = Callable[[nn.Module, Tensor, Tensor | None], Tensor]
"""How a kind of model is called: (model, inputs (B, ...), task labels (B,) or None) -> logits (B, C)."""


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
        complete: whether it is known that no logit is NaN.
        lr: how far the step goes along a steady gradient: the largest of the learning rates of the optimiser's groups,
            divided by 1 - momentum; 0 if it has none.
    """

    model: nn.Module
    raw: Tensor
    targets: Tensor
    tasks: Tensor | None
    logits: Tensor
    experience: int
    complete: bool = False
    lr: float = 0.0


def plainly(model: nn.Module, inputs: Tensor, _: Tensor | None) -> Tensor:
    """Call a model that takes no task labels."""
    logits: Tensor = model(inputs)
    return logits


@dataclass
class Ending:
    """What a part sees when an experience ends.

    Attributes:
        model: the student, which has now learnt the classes `taught`.
        taught: every class met so far.
        answering: returns the network that answers at evaluation.
        remembered: returns the rows in memory, None if there are none.
        held_out: returns the rows in memory that are never rehearsed, None if there are none.
        data: iterates over the experience's own samples, a batch of rows at a time.
        live: the units that the head lets speak, None where every unit does.
        ask: how this kind of model is called.
        prepare: raw samples (B, ...) to network inputs, without augmentation.
    """

    model: nn.Module
    taught: ClassSet
    answering: Callable[[], nn.Module] | None = None
    remembered: Callable[[], Rows | None] = lambda: None
    held_out: Callable[[], Rows | None] = lambda: None
    data: Callable[[], Iterator[Rows]] = lambda: iter(())
    live: ClassSet | None = None
    ask: Ask = plainly
    prepare: Callable[[Tensor], Tensor] = field(default=lambda raw: raw)

    def logits(self, model: nn.Module, rows: Rows) -> Tensor:
        """Answers (N, C) of `model` in eval mode, without a graph; its mode is afterwards as it was."""
        with asleep(model), torch.no_grad():
            return torch.cat([self.ask(model, x, t) for x, t in self._batches(model, rows)])

    def features(self, model: nn.Module, rows: Rows) -> Tensor:
        """What the head of `model` takes in for each row, (N, D), in eval mode and without a graph."""
        found = []
        with asleep(model), torch.no_grad(), head_tapped(model) as taken:
            for x, t in self._batches(model, rows):
                self.ask(model, x, t)
                found.append(taken[-1])
        return torch.cat(found)

    def _batches(self, model: nn.Module, rows: Rows) -> Iterator[tuple[Tensor, Tensor]]:
        device = next((p.device for p in model.parameters()), rows.raw.device)
        for raw, tasks in zip(torch.split(rows.raw, 500), torch.split(rows.tasks, 500), strict=True):
            yield self.prepare(raw.to(device)), tasks.to(device)


@contextmanager
def asleep(model: nn.Module) -> Iterator[None]:
    """Eval mode within the context; every module's mode as it was afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


class Part:
    """A part does nothing by default; it overrides the moments that it needs."""

    needs_boundaries = False
    """Whether it does nothing in a stream that does not tell where its tasks end."""

    def begin(self, model: nn.Module, seen: ClassSet) -> None:
        """An experience (or online sub-experience) begins; `model` has its head for it, `seen` its classes."""

    def after_update(self, update: Update) -> None:
        """Follow one optimiser step."""

    def end(self, ending: Ending) -> None:
        """Close an experience."""

    def nbytes(self) -> dict[str, int]:
        """Bytes of state held for the method, by what they hold."""
        return {}


def tensor_bytes(tensor: torch.Tensor) -> int:
    """Bytes of a tensor's elements."""
    return tensor.numel() * tensor.element_size()
