"""What every answer is: a part that puts a network in the student's place at evaluation."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import nn

from ckd.classes import ClassSet
from ckd.errors import ModelError


@runtime_checkable
class Answer(Protocol):
    """Decides which network answers at evaluation, and is copied by snapshots."""

    def answering(self, model: nn.Module) -> nn.Module:
        """A network that answers in the place of the student `model`; `model` itself if nothing is to be changed."""
        ...


def refuse_heads_per_task(who: str, taught: ClassSet) -> None:
    """Raise a ModelError for a model with a head for each task: `who` corrects one shared head."""
    if taught.per_task:
        raise ModelError(
            who,
            expected="a model with one head for all classes",
            received="a multi-head model",
            fix="Use lwf, er, der++, er-ace, mean-er or cls-er, which work head by head.",
        )
