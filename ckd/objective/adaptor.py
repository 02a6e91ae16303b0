"""A learned map from the student's output to the target's space, trained by an optimiser of its own.

Romero et al. 2015 (FitNets), arXiv:1412.6550, section 2.2: a regressor where student and teacher differ in width.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ckd.errors import ConfigError
from ckd.part import Ending, Part, Update, tensor_bytes


class Adaptor(Part):
    """A linear map, made when the first outputs arrive, or a module of your own; trained beside the student.

    For (B, D) and (B, T, D) it is a linear layer, for (B, C, H, W) a 1 x 1 convolution. It has an optimiser of its own
    (SGD with momentum 0.9), as the user's optimiser does not know it and Avalanche rewrites that at every experience.

    Args:
        module: the map; made to fit unless given.
        lr: learning rate.
        renew: begin anew after each experience, as the next one has another teacher.
        seed: of the initial weights.

    Raises:
        ConfigError: a learning rate that is not above 0; at the first step, outputs that no linear map can connect.
    """

    def __init__(self, module: nn.Module | None = None, *, lr: float = 0.1, renew: bool = False, seed: int = 0) -> None:
        if not lr > 0:
            raise ConfigError("learning rate of the adaptor", expected="above 0", received=lr, fix="Try 0.1.")
        self.lr, self.renew, self.seed = lr, renew, seed
        self._given = module
        self._made = 0
        self._module: nn.Module | None = None
        self._optimiser: torch.optim.SGD | None = None

    def __call__(self, student: Tensor, target: Tensor) -> Tensor:
        """The student's output (B, ...) in the target's space."""
        if self._module is None:
            self._use(self._fresh(student, target).to(student))
        mapped: Tensor = self._module(student)  # type: ignore[misc]
        return mapped

    def after_update(self, update: Update) -> None:
        """Follow the gradient that the step left in the map."""
        if self._optimiser is not None:
            self._optimiser.step()
            self._optimiser.zero_grad()

    def end(self, ending: Ending) -> None:
        """Forget the map, if it is to be renewed."""
        if self.renew:
            self._module = self._optimiser = None
            self._made += 1

    def nbytes(self) -> dict[str, int]:
        """Bytes of the map, as `adaptors`."""
        return {} if self._module is None else {"adaptors": sum(map(tensor_bytes, self._module.parameters()))}

    def state_dict(self) -> dict[str, Any]:
        """The map and its optimiser."""
        state: dict[str, Any] = {"made": self._made, "module": None, "optimiser": None}
        if self._module is not None and self._optimiser is not None:
            state["module"] = {name: value.clone() for name, value in self._module.state_dict().items()}
            state["optimiser"] = copy.deepcopy(self._optimiser.state_dict())
        return state

    def load_state_dict(self, state: Mapping[str, Any], student: nn.Module) -> None:
        """Restore what `state_dict` returned."""
        self._made, found = state["made"], state["module"]
        self._module = self._optimiser = None
        if found is None:
            return
        module = copy.deepcopy(self._given) if self._given is not None else _like(found["weight"])
        module.load_state_dict(found)
        self._use(module.to(next(iter(found.values()))))
        self._optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))  # type: ignore[attr-defined]

    def _use(self, module: nn.Module) -> None:
        self._module = module
        self._optimiser = torch.optim.SGD(module.parameters(), lr=self.lr, momentum=0.9)

    def _fresh(self, student: Tensor, target: Tensor) -> nn.Module:
        if self._given is not None:
            return copy.deepcopy(self._given)
        images = student.dim() == 4
        fits = student.shape[2:] == target.shape[2:] if images else student.shape[:-1] == target.shape[:-1]
        if student.dim() != target.dim() or not fits:
            raise ConfigError(
                "adaptor",
                expected=f"outputs that differ in width only, the target's {tuple(target.shape)}",
                received=f"a student's output of shape {tuple(student.shape)}",
                fix="Tap layers of the same resolution, or give Adaptor a module that maps one to the other.",
            )
        axis = 1 if images else -1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + self._made)
            if images:
                return nn.Conv2d(student.shape[axis], target.shape[axis], 1)
            return nn.Linear(student.shape[axis], target.shape[axis])


def _like(weight: Tensor) -> nn.Module:
    """The map whose weight this is."""
    outputs, inputs = weight.shape[:2]
    return nn.Conv2d(inputs, outputs, 1) if weight.dim() == 4 else nn.Linear(inputs, outputs)
