"""What every teacher is: a frozen network that is asked and never trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ckd.classes import ClassSet
from ckd.part import Ask, Part, tensor_bytes
from ckd.taps import head_tapped


class Teacher(Part):
    """A frozen network, in eval mode whatever anyone calls, and the classes that it was taught.

    It holds a copy of the student, so it belongs on a plugin or an objective, never on the student (whose optimiser
    would train it). Until it is `ready` no term asks it.
    """

    def __init__(self) -> None:
        self._frozen: Frozen | None = None
        self.taught = ClassSet()

    @property
    def ready(self) -> bool:
        """Whether there is a network to ask."""
        return self._frozen is not None

    @property
    def model(self) -> Frozen:
        """The frozen network."""
        if self._frozen is None:
            raise RuntimeError(f"this {type(self).__name__} has no network yet: no experience began or ended")
        return self._frozen

    def answer(self, ask: Ask, inputs: Tensor, tasks: Tensor | None) -> Tensor:
        """Logits (B, C) for `inputs` (B, ...), without a graph.

        Samples of a task that it was not taught are asked of another head; `taught` says not to believe it.

        Args:
            ask: how this kind of model is called.
            inputs: network inputs (B, ...).
            tasks: task labels (B,) or None.
        """
        frozen = self.model
        frozen.keep_asleep()
        if self.taught.per_task and tasks is not None:
            tasks = self.taught.known(tasks)
        with torch.no_grad():
            return ask(frozen.module, inputs, tasks)

    def features(self, ask: Ask, inputs: Tensor, tasks: Tensor | None) -> Tensor:
        """What the head takes in for `inputs`, (B, D), without a graph; arguments as for `answer`."""
        with head_tapped(self.model.module) as taken:
            self.answer(ask, inputs, tasks)
        return taken[-1]

    def nbytes(self) -> dict[str, int]:
        """Bytes of the network's parameters and buffers, as `teachers`."""
        if self._frozen is None:
            return {}
        tensors = [*self._frozen.parameters(), *self._frozen.buffers()]
        return {"teachers": sum(map(tensor_bytes, tensors))}


class Frozen(nn.Module):
    """A module in eval mode without gradients; `train()` has no effect on it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.eval().requires_grad_(False)
        self.training = False
        self._all = tuple(module.modules())
        for parameter in module.parameters():
            parameter.grad = None

    def train(self, mode: bool = True) -> Frozen:
        """Stay in eval mode, whatever `mode` says."""
        return self

    def keep_asleep(self) -> None:
        """Put back to eval what someone woke behind our back, a submodule for one."""
        for module in self._all:
            if module.training:
                self.module.eval()
                return

    def forward(self, inputs: Tensor) -> Tensor:
        """The answer to `inputs` (B, ...): logits (B, C), without a graph."""
        self.keep_asleep()
        with torch.no_grad():
            logits: Tensor = self.module(inputs)
        return logits
