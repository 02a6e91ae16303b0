"""A network that was trained elsewhere.

Hinton, Vinyals & Dean, Distilling the Knowledge in a Neural Network, 2015, arXiv:1503.02531.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from ckd.teachers.given import Given
from ckd.teachers.teacher import Frozen


class Fixed(Given):
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
        >>> import torch
        >>> from ckd.outputs import logits
        >>> teacher = Fixed(nn.Linear(4, 3), classes=[0, 1])
        >>> teacher.outputs(torch.zeros(2, 4))[logits].shape
        torch.Size([2, 3])
    """

    def __init__(self, network: nn.Module, classes: Iterable[int] | None = None, *, head: str | None = None) -> None:
        super().__init__(network, classes, head=head)
        self._frozen = Frozen(network)
