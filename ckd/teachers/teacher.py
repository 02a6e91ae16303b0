"""What every teacher is: a network whose outputs are targets, frozen unless it is a peer, and never trained here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ckd.classes import ClassSet
from ckd.errors import ModelError
from ckd.outputs import HEAD, Output, collect, find_head, logits
from ckd.part import Part, copy_of, tensor_bytes
from ckd.teachers.fingerprint import fingerprint


class Teacher(Part):
    """A frozen network, in eval mode whatever anyone calls, and the classes that it knows.

    It belongs to an objective, never on the student, whose optimiser would train it. Until it is `ready` the terms
    that need it are left out.

    Attributes:
        classes: what it was taught; None for every class of its head.
        head: path of the linear layer that gives its logits, found by itself unless given.
    """

    classes: ClassSet | None

    copies_student: ClassVar[bool] = True
    """Whether its network is a copy of the student, so that their heads have one path."""

    def __init__(self) -> None:
        self._frozen: Frozen | None = None
        self.classes = ClassSet()
        self.head: str | None = None

    @property
    def ready(self) -> bool:
        """Whether there is a network."""
        return self._frozen is not None

    @property
    def model(self) -> Frozen:
        """The frozen network."""
        if self._frozen is None:
            raise RuntimeError(f"this {type(self).__name__} has no network yet: no experience began or ended")
        return self._frozen

    def outputs(
        self, inputs: Tensor, tasks: Tensor | None = None, wanted: Sequence[Output] = (logits,)
    ) -> dict[Output, Any]:
        """Each of the `wanted` outputs for `inputs` (B, ...), from one forward pass without a graph.

        Samples of a task that it was not taught go through another head; `valid` leaves them out.
        """
        if self.classes is not None and self.classes.per_task and tasks is not None:
            tasks = self.classes.replace_unknown(tasks)
        return self.model.outputs(inputs, tasks, wanted, self.head)

    def valid(self, width: int, tasks: Tensor | None, device: torch.device) -> Tensor | None:
        """The classes that it knows, of `width`: bool (C,), or (B, C) for heads by task; None for all."""
        return None if self.classes is None else self.classes.mask(width, tasks, device)

    def fingerprint(self) -> str:
        """SHA-256 of its network's tensors, 64 hex digits."""
        return fingerprint(self.model.module)

    def nbytes(self) -> dict[str, int]:
        """Bytes of the network's parameters and buffers, as `teachers`."""
        return {} if self._frozen is None else {"teachers": self._frozen.nbytes()}

    def state_dict(self) -> dict[str, Any]:
        """The network's tensors, and the classes that it knows."""
        network = None if self._frozen is None else self._frozen.module.state_dict()
        network = network and {name: value.clone() for name, value in network.items()}
        return {"network": network, "classes": None if self.classes is None else self.classes.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], student: nn.Module) -> None:
        """Restore what `state_dict` returned, in a copy of `student`.

        Raises:
            ModelError: a student of another kind than the network in the state.
        """
        self.classes = None if state["classes"] is None else ClassSet.of_state(state["classes"])
        network = state["network"]
        self._frozen = None if network is None else Frozen(_filled(copy_of(student), network))


class Frozen(nn.Module):
    """A module in eval mode without gradients; `train()` has no effect on it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.eval().requires_grad_(False)
        self.training = False
        self._all = tuple(module.modules())
        self._head: str | None = None
        for parameter in module.parameters():
            parameter.grad = None

    def train(self, mode: bool = True) -> Frozen:
        """Stay in eval mode, whatever `mode` says."""
        return self

    def stay_in_eval(self) -> None:
        """Put back to eval mode what someone set to train mode from outside, a submodule for one."""
        for module in self._all:
            if module.training:
                self.module.eval()
                return

    def forward(self, inputs: Tensor, tasks: Tensor | None = None) -> Tensor:
        """Logits (B, C) for `inputs` (B, ...), without a graph."""
        found: Tensor = self.outputs(inputs, tasks)[logits]
        return found

    def outputs(
        self,
        inputs: Tensor,
        tasks: Tensor | None = None,
        wanted: Sequence[Output] = (logits,),
        head: str | None = None,
    ) -> dict[Output, Any]:
        """The `wanted` outputs, from one forward pass; `head` is the path of its head, found by itself unless given."""
        self.stay_in_eval()
        self._head = head or self._head
        if self._head is None and any(HEAD in output.paths for output in wanted):
            self._head = find_head(self.module, inputs[:2], None if tasks is None else tasks[:2])
        with torch.no_grad():
            return dict(collect(self.module, inputs, tasks, wanted, self._head))

    def nbytes(self) -> int:
        """Bytes of parameters and buffers."""
        return sum(map(tensor_bytes, [*self.parameters(), *self.buffers()]))


def _filled(module: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """`module` with these tensors as parameters and buffers, also where a head was narrower or wider then.

    Raises:
        ModelError: a tensor that the module has no place for.
    """
    known = module.state_dict()
    unknown = [name for name in tensors if name not in known]
    if unknown:
        raise ModelError(
            "state of a teacher",
            expected=f"tensors of {type(module).__name__}",
            received=f"also {', '.join(unknown[:3])}",
            fix="Give load_state_dict a student of the kind that the teacher is a copy of.",
        )
    filled: dict[int, tuple[Tensor, Tensor]] = {}  # by what it replaces, as layers may share a tensor
    for path, owner in module.named_modules():
        for own in (owner._parameters, owner._buffers):
            for name, old in own.items():
                value = tensors.get(f"{path}.{name}".lstrip("."))
                if value is None or old is None:
                    continue
                if id(old) not in filled:
                    fresh = value.to(old.device).clone()
                    filled[id(old)] = old, nn.Parameter(fresh) if isinstance(old, nn.Parameter) else fresh
                own[name] = filled[id(old)][1]
        if isinstance(owner, nn.Linear):
            owner.out_features, owner.in_features = owner.weight.shape
    return module
