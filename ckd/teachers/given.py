"""What teachers have in common whose network is given: it is used as it is, where it is."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ckd.classes import Classes, ClassSet
from ckd.errors import ConfigError
from ckd.outputs import Output, logits
from ckd.teachers.teacher import Teacher


class Given(Teacher):
    """A network that somebody else made and keeps. It is used as it is, not copied.

    It keeps its own device and dtype; inputs are moved there and outputs back, never in half precision. A network
    whose `forward` has an argument for them ("tasks", "task_labels") is given task labels.

    Args:
        network: any module that returns logits (B, C).
        classes: the classes that it knows, as indices of the student's classes; None for all of its head.
        head: path of the linear layer that gives its logits, where a term compares `features` and it is not plain.

    Raises:
        ConfigError: not a module; when training starts, a network that shares parameters with the student.
    """

    copies_student: ClassVar[bool] = False

    def __init__(self, network: nn.Module, classes: Iterable[int] | None = None, *, head: str | None = None) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise ConfigError(self._who, expected="a torch.nn.Module", received=repr(network), fix="Load it first.")
        self.network, self.head = network, head
        self._takes_tasks = any("task" in name for name in inspect.signature(network.forward).parameters)
        self.classes = None if classes is None else ClassSet({0: frozenset(map(int, classes))})

    @property
    def _who(self) -> str:
        return f"{type(self).__name__} teacher"

    def begin(self, model: nn.Module, classes: Classes) -> None:
        """Refuse a network that the student would train."""
        mine = {id(parameter) for parameter in self.network.parameters()}
        if any(id(parameter) in mine for parameter in model.parameters()):
            fix = "Give it a copy (copy.deepcopy), or use Snapshot() for the student's past self."
            raise ConfigError(self._who, expected="a network of its own", received="the student's parameters", fix=fix)

    def outputs(
        self, inputs: Tensor, tasks: Tensor | None = None, wanted: Sequence[Output] = (logits,)
    ) -> dict[Output, Any]:
        """As for every teacher; inputs go to the network's device and dtype, and outputs come back."""
        own = next(self.network.parameters(), inputs)
        there = inputs.to(own.device, own.dtype if inputs.is_floating_point() else None)
        tasks = tasks.to(own.device) if self._takes_tasks and tasks is not None else None
        found = self._asked(there, tasks, wanted)
        return {output: _back(value, inputs) for output, value in found.items()}

    def _asked(self, inputs: Tensor, tasks: Tensor | None, wanted: Sequence[Output]) -> Mapping[Output, Any]:
        """The outputs where the network is."""
        return super().outputs(inputs, tasks, wanted)

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
