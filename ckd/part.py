"""The life cycle that every part of an objective shares: teachers, memories, adaptors, anchors, evaluation models."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ckd.classes import Classes, ClassSet
from ckd.errors import ModelError
from ckd.outputs import call, collect, eval_mode, features, find_head
from ckd.rows import Rows


@dataclass
class Update:
    """What a part sees after each optimiser step.

    Attributes:
        model: the student.
        raw: the stream's samples as the memory stores them (B, ...).
        targets: labels (B, ...), int64.
        tasks: task labels (B,), int64; None where the benchmark has none.
        logits: the student's logits (B, C) from before the step, detached; NaN for inactive units.
        experience: index of the experience, counted by task boundaries.
        all_active: whether the head has no inactive unit, so that no logit is NaN.
        lr: how far the step goes along a steady gradient: the largest learning rate of the optimiser's groups, divided
            by 1 - momentum; 0 if it has none.
    """

    model: nn.Module
    raw: Tensor
    targets: Tensor
    tasks: Tensor | None
    logits: Tensor
    experience: int
    all_active: bool = False
    lr: float = 0.0


@dataclass
class Ending:
    """What a part sees when an experience ends.

    Attributes:
        model: the student; for an evaluation model, the network that it builds on.
        classes: `old` before this experience, `current` in it, `seen` both.
        experience: its index, counted by task boundaries.
        data: iterates over the experience's own samples, a batch of rows at a time.
        stored: returns the rows in memory, None if there are none.
        held_out: returns the rows in memory that are never rehearsed, None if there are none.
        active: the active units of the head, None where every unit is.
        prepare: stored samples (B, ...) to network inputs, without augmentation.
        evaluation_model: returns the network that predicts at evaluation.
        head: path of the linear layer that gives the logits, None where nothing needs it.
    """

    model: nn.Module
    classes: Classes
    experience: int = 0
    data: Callable[[], Iterator[Rows]] = lambda: iter(())
    stored: Callable[[], Rows | None] = lambda: None
    held_out: Callable[[], Rows | None] = lambda: None
    active: ClassSet | None = None
    prepare: Callable[[Tensor], Tensor] = lambda raw: raw
    evaluation_model: Callable[[], nn.Module] | None = None
    head: str | None = None

    def logits(self, model: nn.Module, rows: Rows) -> Tensor:
        """Logits (N, C) of `model` in eval mode, without a graph; its mode is afterwards as it was."""
        with eval_mode(model), torch.no_grad():
            return torch.cat([call(model, x, t) for x, t in self._batches(model, rows)])

    def features(self, model: nn.Module, rows: Rows) -> Tensor:
        """What the head of `model` takes in for each row, (N, D), in eval mode and without a graph."""
        with eval_mode(model), torch.no_grad():
            found = [collect(model, x, t, [features], self.head)[features] for x, t in self._batches(model, rows)]
        return torch.cat(found)

    def with_head(self, rows: Rows) -> Ending:
        """With the head of its model, found with the first of `rows`; without one where none is found."""
        if self.head is not None:
            return self
        (x, tasks), *_ = self._batches(self.model, rows.take(torch.arange(min(2, len(rows)), device=rows.raw.device)))
        try:
            return replace(self, head=find_head(self.model, x, tasks))
        except ModelError:
            return self

    def _batches(self, model: nn.Module, rows: Rows) -> Iterator[tuple[Tensor, Tensor | None]]:
        device = next((p.device for p in model.parameters()), rows.raw.device)
        for raw, tasks in zip(torch.split(rows.raw, 500), torch.split(rows.tasks, 500), strict=True):
            yield self.prepare(raw.to(device)), tasks.to(device) if self.classes.seen.per_task else None


class Part:
    """A part does nothing by default; it overrides the moments that it needs."""

    needs_boundaries = False
    """Whether it does nothing in a stream that does not mark where its tasks end."""

    needs_data = False
    """Whether it looks at the experience's own samples when an experience ends."""

    owner: object = None
    """The run whose state this is, from its first experience on; set by the engine. A part without state has none."""

    needs_head = False
    """Whether it looks at the head of the model or at what the head takes in."""

    needs_one_label = False
    """Whether each sample must have one label, so that logits (B, T, C) and (B, C, H, W) are refused."""

    def in_pieces(self) -> None:
        """Told by an online stream, whose experiences come in pieces and are never at hand as a whole."""

    @property
    def members(self) -> dict[str, Part]:
        """The parts that it is made of, by name; each has a life cycle of its own."""
        return {}

    def begin(self, model: nn.Module, classes: Classes) -> None:
        """An experience (or online sub-experience) begins; `model` has its head for it."""

    def after_update(self, update: Update) -> None:
        """Follow one optimiser step."""

    def end(self, ending: Ending) -> None:
        """Close an experience."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on: tensors and plain data, in dictionaries and lists."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any], student: nn.Module) -> None:
        """Restore what `state_dict` returned; `student` is a model of the kind that the part copies."""

    def nbytes(self) -> dict[str, int]:
        """Bytes of state held for the method, by what they hold."""
        return {}


@runtime_checkable
class EvaluationModel(Protocol):
    """A part that puts another network in the student's place at evaluation."""

    def evaluation_model(self, model: nn.Module) -> nn.Module:
        """The network that predicts in the place of `model`; `model` itself if nothing is to be changed."""
        ...


def copy_of(model: nn.Module) -> nn.Module:
    """A deep copy of a network; what it keeps of its last forward pass, as a recurrent state, is copied as values."""
    kept = (value for module in model.modules() for value in _tensors(list(vars(module).values())))
    graphs = {id(value): value.detach().clone() for value in kept if not value.is_leaf}
    return copy.deepcopy(model, graphs)


def _tensors(value: object) -> Iterator[Tensor]:
    """The tensors in lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _tensors(one)


def refuse_heads_per_task(who: str, seen: ClassSet) -> None:
    """Raise a ModelError for a model with a head for each task: `who` works on one shared head."""
    if seen.per_task:
        raise ModelError(
            who,
            expected="a model with one head for all classes",
            received="a multi-head model",
            fix="Use lwf, er, der++, er-ace, mean-er or cls-er, which work head by head.",
        )


def tensor_bytes(tensor: torch.Tensor) -> int:
    """Bytes of a tensor's elements."""
    return tensor.numel() * tensor.element_size()
