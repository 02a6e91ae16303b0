"""A network that was trained elsewhere.

Hinton, Vinyals & Dean, Distilling the Knowledge in a Neural Network, 2015, arXiv:1503.02531.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ckd.classes import Classes, ClassSet
from ckd.errors import ConfigError
from ckd.outputs import Output, logits
from ckd.teachers.teacher import Frozen, Teacher


class Fixed(Teacher):
    """A given network as teacher. It is used as it is, not copied: in eval mode, its parameters without gradients.

    It keeps its own device and dtype; inputs are moved there and outputs back, never in half precision.

    Args:
        network: any module that returns logits (B, C).
        classes: the classes that it knows, as indices of the student's classes; None for all of its head.
        head: path of the linear layer that gives its logits, where a term compares `features` and it is not plain.

    A network whose `forward` has an argument for them ("tasks", "task_labels") is given task labels.

    Raises:
        ConfigError: not a module; when training starts, a network that shares parameters with the student.

    Example:
        >>> teacher = Fixed(nn.Linear(4, 3), classes=[0, 1])
        >>> teacher.outputs(torch.zeros(2, 4))[logits].shape
        torch.Size([2, 3])
    """

    copies_student: ClassVar[bool] = False

    def __init__(self, network: nn.Module, classes: Iterable[int] | None = None, *, head: str | None = None) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise ConfigError(
                "Fixed teacher", expected="a torch.nn.Module", received=repr(network), fix="Load it first."
            )
        self._frozen = Frozen(network)
        self.head = head
        self._takes_tasks = any("task" in name for name in inspect.signature(network.forward).parameters)
        self.classes = None if classes is None else ClassSet({0: frozenset(map(int, classes))})

    def begin(self, model: nn.Module, classes: Classes) -> None:
        """Refuse a network that the student would train."""
        mine = {id(parameter) for parameter in self.model.parameters()}
        if any(id(parameter) in mine for parameter in model.parameters()):
            fix = "Give it a copy (copy.deepcopy), or use Snapshot() for the student's past self."
            raise ConfigError(
                "Fixed teacher", expected="a network of its own", received="the student's parameters", fix=fix
            )

    def outputs(
        self, inputs: Tensor, tasks: Tensor | None = None, wanted: Sequence[Output] = (logits,)
    ) -> dict[Output, Any]:
        """As for every teacher; inputs go to the network's device and dtype, and outputs come back."""
        own = next(self.model.parameters(), inputs)
        there = inputs.to(own.device, own.dtype if inputs.is_floating_point() else None)
        tasks = tasks.to(own.device) if self._takes_tasks and tasks is not None else None
        found = super().outputs(there, tasks, wanted)
        return {output: _back(value, inputs) for output, value in found.items()}

    def state_dict(self) -> dict[str, Any]:
        """Nothing: whoever gave the network keeps it."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any], student: nn.Module) -> None:
        """Nothing to restore."""


def _back(value: Any, inputs: Tensor) -> Any:
    """On the device and in the dtype of the `inputs`; float32 where that is half precision."""
    if isinstance(value, tuple):
        return tuple(_back(one, inputs) for one in value)
    dtype = inputs.dtype if inputs.is_floating_point() and value.is_floating_point() else value.dtype
    return value.to(inputs.device, torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype)
