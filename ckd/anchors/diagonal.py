"""A diagonal Fisher matrix: how much each weight matters on its own.

Kirkpatrick et al. 2017 (EWC), arXiv:1612.00796; summed over tasks with a decay as in Schwarz et al. 2018 (online EWC),
arXiv:1805.06370.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from ckd.anchors.curvature import Displacement
from ckd.anchors.exam import Exam
from ckd.part import Ask, tensor_bytes

ELEMENTS = 2**24
"""Numbers in the gradients of the samples that are taken at once."""


class Diagonal:
    """F = diag of E[(∂ log p(ŷ|x) / ∂θ)²], for any architecture.

    Args:
        only: names of the parameters to look at; None for all.
    """

    def __init__(self, only: Collection[str] | None = None) -> None:
        self.only = only
        self._fisher: dict[str, Tensor] = {}

    def add(self, exam: Exam, decay: float) -> None:
        """Add the mean of the samples' squared gradients; weights that never had any take no space."""
        found = mean_square_gradients(exam, self.only)
        self._fisher = {name: decay * known for name, known in self._fisher.items()}
        for name, fresh in found.items():
            if name in self._fisher:
                fresh = fresh + _fit(self._fisher[name], fresh)
            if name in self._fisher or fresh.any():
                self._fisher[name] = fresh

    def penalty(self, displacement: Displacement) -> Tensor:
        """½ Σ F Δ²."""
        halves = [(_fit(f, displacement[n]) * displacement[n] ** 2).sum() / 2 for n, f in self._fisher.items()]
        return torch.stack(halves).sum() if halves else torch.zeros(())

    def taken_off(self, displacement: Displacement, strength: float) -> dict[str, Tensor]:
        """Δ · s F / (1 + s F)."""
        found = {}
        for name, fisher in self._fisher.items():
            stiff = strength * _fit(fisher, displacement[name])
            found[name] = displacement[name] * stiff / (1 + stiff)
        return found

    def nbytes(self) -> int:
        """Bytes of the diagonal."""
        return sum(map(tensor_bytes, self._fisher.values()))


def mean_square_gradients(exam: Exam, only: Collection[str] | None = None) -> dict[str, Tensor]:
    """E[(∂ loss / ∂θ)²] over the samples, by parameter name; vectorised unless the model has several heads."""
    asked = _Asked(exam.model, exam.ask)
    every = {f"model.{name}": parameter.detach() for name, parameter in exam.model.named_parameters()}
    weights = {name: w for name, w in every.items() if only is None or name.removeprefix("model.") in only}
    if not weights:
        return {}

    def loss(weights: dict[str, Tensor], x: Tensor, task: Tensor, label: Tensor, classes: Tensor) -> Tensor:
        logits = functional_call(asked, {**every, **weights}, (x[None], task[None]))
        return F.cross_entropy(logits.masked_fill(~classes, -torch.inf), label[None])

    of_each = _one_by_one(grad(loss)) if exam.per_task else _at_once(grad(loss))
    size = max(1, min(256, ELEMENTS // sum(p.numel() for p in weights.values())))
    total = {name: torch.zeros_like(value) for name, value in weights.items()}
    for batch in exam.batches(size):
        classes = torch.ones(1, 1, dtype=torch.bool) if batch.classes is None else batch.classes
        classes = classes.to(batch.inputs.device).expand(len(batch), -1)
        for name, gradients in of_each(weights, batch.inputs, batch.tasks, batch.labels, classes).items():
            total[name] += gradients.square().sum(0)
    return {name.removeprefix("model."): value / len(exam) for name, value in total.items()}


def _at_once(of_one: Callable[..., dict[str, Tensor]]) -> Callable[..., dict[str, Tensor]]:
    """`of_one` of each row, stacked: vectorised, where every layer of the model can be (a GRU cannot)."""
    vectorised = vmap(of_one, in_dims=(None, 0, 0, 0, 0))

    def of_each(*columns: Any) -> dict[str, Tensor]:
        try:
            found: dict[str, Tensor] = vectorised(*columns)
        except RuntimeError:
            found = _one_by_one(of_one)(*columns)
        return found

    return of_each


def _one_by_one(of_one: Callable[..., dict[str, Tensor]]) -> Callable[..., dict[str, Tensor]]:
    """`of_one` of each row, stacked: where the data decide which head answers, vmap cannot follow."""

    def of_each(weights: dict[str, Tensor], *columns: Tensor) -> dict[str, Tensor]:
        found = [of_one(weights, *row) for row in zip(*columns, strict=True)]
        return {name: torch.stack([row[name] for row in found]) for name in weights}

    return of_each


class _Asked(nn.Module):
    """A model as `ask` calls it."""

    def __init__(self, model: nn.Module, ask: Ask) -> None:
        super().__init__()
        self.model = model
        self._ask = ask

    def forward(self, inputs: Tensor, tasks: Tensor) -> Tensor:
        return self._ask(self.model, inputs, tasks)


def _fit(fisher: Tensor, like: Tensor) -> Tensor:
    """Zeros for the weights that came later."""
    if fisher.shape == like.shape:
        return fisher
    grown = torch.zeros_like(like)
    grown[tuple(map(slice, fisher.shape))] = fisher
    return grown
