"""A network that is itself still learning: another student.

Zhang et al. 2018, Deep Mutual Learning, arXiv:1706.00384.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ckd.outputs import HEAD, Output, collect, eval_mode, find_head
from ckd.part import tensor_bytes
from ckd.teachers.given import Given


class Peer(Given):
    """Another student as teacher: it is asked as it is at that moment, and goes on learning from whoever trains it.

    It is asked in eval mode and without a graph, and is afterwards as it was: the mode of each of its modules, its
    parameters, their gradients and `requires_grad`, its buffers. So it is the one teacher that changes between two
    steps. For two students that learn from each other (algorithm 1), give each an engine with the other as `Peer`,
    and update them in turn; the second sees what the first has just become. Code of the paper's kind
    asks in train mode; here batch statistics and dropout of one student stay out of the other's training.

    Args:
        network: any module that returns logits (B, C).
        classes: the classes that it knows, as indices of the student's classes; None for all of its head.
        head: path of the linear layer that gives its logits, where a term compares `features` and it is not plain.

    Raises:
        ConfigError: not a module; when training starts, a network that shares parameters with the student.

    Example:
        >>> from torch import nn
        >>> from ckd.outputs import logits
        >>> other = nn.Sequential(nn.Linear(4, 3), nn.Dropout())
        >>> teacher = Peer(other)
        >>> teacher.outputs(torch.zeros(2, 4))[logits].requires_grad
        False
        >>> other.training, all(parameter.requires_grad for parameter in other.parameters())
        (True, True)
    """

    @property
    def ready(self) -> bool:
        """Always."""
        return True

    def _asked(self, inputs: Tensor, tasks: Tensor | None, wanted: Sequence[Output]) -> Mapping[Output, Any]:
        if self.head is None and any(HEAD in output.paths for output in wanted):
            self.head = find_head(self.network, inputs[:2], None if tasks is None else tasks[:2])
        with eval_mode(self.network), torch.no_grad():
            return collect(self.network, inputs, tasks, wanted, self.head)

    def nbytes(self) -> dict[str, int]:
        """Bytes of the network's parameters and buffers, as `teachers`."""
        tensors = [*self.network.parameters(), *self.network.buffers()]
        return {"teachers": sum(map(tensor_bytes, tensors))}
