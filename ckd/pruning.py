"""Pruning while a network trains: the smallest weights are set to zero, ever more of them.

Zhu & Gupta 2017, To Prune, or Not to Prune, arXiv:1710.01878, eq. 1 (the schedule); magnitudes over all layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.prune import L1Unstructured

from ckd.classes import Classes
from ckd.errors import ConfigError
from ckd.part import Part, Update, tensor_bytes

LAST = 0.75
"""Share of the training after which no more weights are pruned; the others then settle."""

TIMES = 100
"""How often weights are pruned until then."""


class Pruning(Part):
    """Sets the smallest weights of all layers to zero after each step, a share of sparsity · (1 - (1 - t)³).

    t goes from 0 to 1 over the first three quarters of the training. Weights of convolutions and linear layers are
    pruned together, by magnitude; biases and normalisation are not. The student itself is changed.

    Args:
        sparsity: share of the weights that are zero in the end, from 0 to below 1.
        steps: of the training.

    Raises:
        ConfigError: a share or a number of steps that cannot be.

    Example:
        >>> from ckd import recipes
        >>> pruned = recipes.naive().extend(corrections=[Pruning(0.9, steps=1000)])
    """

    def __init__(self, sparsity: float, steps: int) -> None:
        if not 0 <= sparsity < 1:
            raise ConfigError("sparsity", expected="from 0 to below 1", received=sparsity, fix="Try 0.9.")
        if not steps >= 1:
            raise ConfigError("steps to prune over", expected="1 or more", received=steps, fix="Count the training's.")
        self.sparsity, self.steps = sparsity, steps
        self._taken = 0
        self._masks: dict[str, Tensor] = {}

    def begin(self, model: nn.Module, classes: Classes) -> None:
        """Refuse a model without weights to prune."""
        if not _weights(model):
            fix = "Leave the sparsity out."
            raise ConfigError("pruning", expected="convolutions or linear layers", received="none", fix=fix)

    def after_update(self, update: Update) -> None:
        """Prune what the schedule says, and keep zero what was pruned."""
        weights = _weights(update.model)
        self._taken += 1
        every = max(1, int(LAST * self.steps / TIMES))
        progress = min(1.0, self._taken / max(1.0, LAST * self.steps))
        if self._taken - 1 < LAST * self.steps and (self._taken % every == 0 or progress == 1.0):
            self._prune(weights, self.sparsity * (1 - (1 - progress) ** 3))
        with torch.no_grad():
            for name, mask in self._masks.items():
                if name in weights and weights[name].shape == mask.shape:
                    weights[name].mul_(mask)

    def _prune(self, weights: Mapping[str, Tensor], share: float) -> None:
        everything = torch.cat([weight.detach().flatten() for weight in weights.values()])
        method: Any = L1Unstructured(amount=round(share * len(everything)))
        mask = method.compute_mask(everything, torch.ones_like(everything)).bool()
        pieces = mask.split([weight.numel() for weight in weights.values()])
        self._masks = {name: piece.view_as(weights[name]) for name, piece in zip(weights, pieces, strict=True)}

    def nbytes(self) -> dict[str, int]:
        """Bytes of the masks, as `masks`."""
        return {"masks": sum(map(tensor_bytes, self._masks.values()))} if self._masks else {}

    def state_dict(self) -> dict[str, Any]:
        """The masks, and how many steps were taken."""
        return {"taken": self._taken, "masks": {name: mask.clone() for name, mask in self._masks.items()}}

    def load_state_dict(self, state: Mapping[str, Any], student: nn.Module) -> None:
        """Restore what `state_dict` returned."""
        there = {name: weight.device for name, weight in _weights(student).items()}
        self._taken = state["taken"]
        self._masks = {name: mask.to(there.get(name, mask.device), copy=True) for name, mask in state["masks"].items()}


def sparsity_of(model: nn.Module) -> float:
    """Share of the prunable weights of `model` that are zero."""
    weights = list(_weights(model).values())
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    return zeros / max(1, sum(weight.numel() for weight in weights))


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """Weights of convolutions and linear layers by name."""
    layers = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return {f"{name}.weight": layer.weight for name, layer in model.named_modules() if isinstance(layer, layers)}
