"""A learned map from the student's output to the target's space, trained by an optimiser of its own.

Romero et al. 2015 (FitNets), arXiv:1412.6550, section 2.2: a regressor where student and teacher differ in width.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ckd.devices import device_of
from ckd.errors import ConfigError
from ckd.part import Ending, Part, Update, tensor_bytes


class Adaptor(Part):
    """A linear map, made when the first outputs arrive, or a module of your own; trained beside the student.

    For (B, D) and (B, T, D) it is a linear layer, for (B, C, H, W) a 1 x 1 convolution. It has an optimiser of its own
    (SGD with momentum 0.9), as the user's optimiser does not know it and Avalanche rewrites that at every experience.

    Args:
        module: the map; made to fit unless given. Of a term with several taps it gets a tuple and returns one.
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
        self._shapes: list[list[list[int]]] = []  # of the first outputs, student's and target's
        self._module: nn.Module | None = None
        self._optimiser: torch.optim.SGD | None = None

    @property
    def takes_several(self) -> bool:
        """Whether it maps the outputs of several taps together."""
        return self._given is not None

    def __call__(self, student: Any, target: Any) -> Any:
        """The student's output (B, ...), or a tuple of several, in the target's space."""
        if self._module is None:
            outputs = (_several(student), _several(target))
            self._shapes = [[list(one.shape) for one in some] for some in outputs]
            self._use(self._fresh().to(outputs[0][0]))
        return self._module(student)  # type: ignore[misc]

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
        if self._module is None:
            return {}
        return {"adaptors": sum(map(tensor_bytes, [*self._module.parameters(), *self._module.buffers()]))}

    def state_dict(self) -> dict[str, Any]:
        """The map and its optimiser."""
        state: dict[str, Any] = {"made": self._made, "shapes": self._shapes, "module": None, "optimiser": None}
        if self._module is not None and self._optimiser is not None:
            state["module"] = {name: value.clone() for name, value in self._module.state_dict().items()}
            state["optimiser"] = copy.deepcopy(self._optimiser.state_dict())
        return state

    def load_state_dict(self, state: Mapping[str, Any], student: nn.Module) -> None:
        """Restore what `state_dict` returned."""
        self._made, self._shapes, found = state["made"], state["shapes"], state["module"]
        self._module = self._optimiser = None
        if found is None:
            return
        module = self._fresh()
        module.load_state_dict(found)
        self._use(module.to(device_of(student), next(iter(found.values())).dtype))
        self._optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))  # type: ignore[attr-defined]

    def _use(self, module: nn.Module) -> None:
        self._module = module
        self._optimiser = torch.optim.SGD(module.parameters(), lr=self.lr, momentum=0.9)

    def _fresh(self) -> nn.Module:
        """A new map, of the module that was given or to fit the shapes."""
        if self._given is not None:
            return copy.deepcopy(self._given)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed + self._made)  # and no other: a GPU has one of its own
            return self._made_to_fit(*self._shapes)

    def _made_to_fit(self, student: list[list[int]], target: list[list[int]]) -> nn.Module:
        """A map between outputs of these shapes, one for each tap."""
        return _linear_map(student[0], target[0])


def _linear_map(student: list[int], target: list[int]) -> nn.Module:
    images = len(student) == 4
    fits = student[2:] == target[2:] if images else student[:-1] == target[:-1]
    if len(student) != len(target) or not fits:
        raise ConfigError(
            "adaptor",
            expected=f"outputs that differ in width only, the target's {tuple(target)}",
            received=f"a student's output of shape {tuple(student)}",
            fix="Tap layers of the same resolution, or give Adaptor a module that maps one to the other.",
        )
    return nn.Conv2d(student[1], target[1], 1) if images else nn.Linear(student[-1], target[-1])


def _several(outputs: Any) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)
