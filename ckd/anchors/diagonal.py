"""A diagonal Fisher matrix: how much each weight matters on its own.

Kirkpatrick et al. 2017 (EWC), arXiv:1612.00796; summed over tasks with a decay as in Schwarz et al. 2018 (online EWC),
arXiv:1805.06370.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from ckd.anchors.curvature import Displacement
from ckd.anchors.fisher_samples import FisherSamples
from ckd.outputs import call
from ckd.part import tensor_bytes

ELEMENTS = 2**24
"""Numbers in the gradients of the samples that are computed at once."""


class Diagonal:
    """F = diag of E[(∂ log p(ŷ|x) / ∂θ)²], for any architecture.

    Args:
        only: names of the parameters to look at; None for all.
    """

    def __init__(self, only: Collection[str] | None = None) -> None:
        self.only = only
        self._fisher: dict[str, Tensor] = {}

    def add(self, samples: FisherSamples, decay: float) -> None:
        """Add the mean of the samples' squared gradients; weights that never had any take no space."""
        found = mean_square_gradients(samples, self.only)
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

    def correction(self, displacement: Displacement, strength: float) -> dict[str, Tensor]:
        """Δ · s F / (1 + s F)."""
        found = {}
        for name, fisher in self._fisher.items():
            stiff = strength * _fit(fisher, displacement[name])
            found[name] = displacement[name] * stiff / (1 + stiff)
        return found

    def state_dict(self) -> dict[str, Any]:
        """The diagonal by parameter name."""
        return {"fisher": {name: value.clone() for name, value in self._fisher.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._fisher = {name: value.clone() for name, value in state["fisher"].items()}

    def nbytes(self) -> int:
        """Bytes of the diagonal."""
        return sum(map(tensor_bytes, self._fisher.values()))


def mean_square_gradients(samples: FisherSamples, only: Collection[str] | None = None) -> dict[str, Tensor]:
    """E[(∂ loss / ∂θ)²] over the samples, by parameter name; vectorised unless the model has several heads."""
    network = _Network(samples.model, per_task=samples.per_task)
    parameters = dict(samples.model.named_parameters())
    every = {f"model.{name}": parameter.detach() for name, parameter in parameters.items()}
    wanted = (name for name, p in parameters.items() if p.requires_grad and (only is None or name in only))
    weights = {f"model.{name}": every[f"model.{name}"] for name in wanted}
    if not weights:
        return {}

    def loss(weights: dict[str, Tensor], x: Tensor, task: Tensor, label: Tensor, classes: Tensor) -> Tensor:
        logits = functional_call(network, {**every, **weights}, (x[None], task[None]))
        return F.cross_entropy(logits.masked_fill(~classes, -torch.inf), label[None])

    of_each = _one_by_one(loss) if samples.per_task else _at_once(loss)
    size = max(1, min(256, ELEMENTS // sum(p.numel() for p in weights.values())))
    total = {name: torch.zeros_like(value) for name, value in weights.items()}
    for batch in samples.batches(size):
        classes = torch.ones(1, 1, dtype=torch.bool) if batch.classes is None else batch.classes
        classes = classes.to(batch.inputs.device).expand(len(batch), -1)
        for name, gradients in of_each(weights, batch.inputs, batch.tasks, batch.labels, classes).items():
            total[name] += gradients.square().sum(0)
    return {name.removeprefix("model."): value / len(samples) for name, value in total.items()}


def _at_once(loss: Callable[..., Tensor]) -> Callable[..., dict[str, Tensor]]:
    """The gradient of each row's loss, stacked: vectorised, where every layer of the model can be.

    A GRU cannot, nor a module that counts its calls in a buffer.
    """
    vectorised = vmap(grad(loss), in_dims=(None, 0, 0, 0, 0))

    def of_each(*columns: Any) -> dict[str, Tensor]:
        try:
            found: dict[str, Tensor] = vectorised(*columns)
        except RuntimeError:
            found = _one_by_one(loss)(*columns)
        return found

    return of_each


def _one_by_one(loss: Callable[..., Tensor]) -> Callable[..., dict[str, Tensor]]:
    """The gradient of each row's loss, stacked: where the data decide which head is used, vmap cannot follow."""

    def of_each(weights: dict[str, Tensor], *columns: Tensor) -> dict[str, Tensor]:
        own = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
        inputs, rows = list(own.values()), zip(*columns, strict=True)
        found = [_gradients(loss(own, *row), inputs) for row in rows]
        return {name: torch.stack(each) for name, each in zip(own, zip(*found, strict=True), strict=True)}

    return of_each


def _gradients(loss: Tensor, weights: list[Tensor]) -> tuple[Tensor, ...]:
    """The gradient of each weight; 0 for those that the loss does not depend on."""
    if not loss.requires_grad:  # a head that no sample went through
        return tuple(map(torch.zeros_like, weights))
    return torch.autograd.grad(loss, weights, materialize_grads=True)


class _Network(nn.Module):
    """A model that takes task labels, whether it needs them or not."""

    def __init__(self, model: nn.Module, *, per_task: bool) -> None:
        super().__init__()
        self.model = model
        self.per_task = per_task

    def forward(self, inputs: Tensor, tasks: Tensor) -> Tensor:
        return call(self.model, inputs, tasks if self.per_task else None)


def _fit(fisher: Tensor, like: Tensor) -> Tensor:
    """Zeros for the weights that came later."""
    if fisher.shape == like.shape:
        return fisher
    grown = torch.zeros_like(like)
    grown[tuple(map(slice, fisher.shape))] = fisher
    return grown
