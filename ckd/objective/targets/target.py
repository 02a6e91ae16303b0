"""What every target is: what a term's output is compared with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from ckd.memory import Memory
from ckd.objective.step import Shown, Step
from ckd.outputs import Output

Wish = tuple[str, Shown, Output]
"""A teacher by name, what it is shown, and which of its outputs is wanted."""


class Target(ABC):
    """A function over a step. What it needs is declared up front, so that a term without it is not even drawn."""

    @property
    def teachers(self) -> tuple[str, ...]:
        """The teachers that are needed, by name."""
        return ()

    waits: ClassVar[bool] = True
    """Whether the term is left out until these teachers are ready."""

    stored_logits: ClassVar[bool] = False
    """Whether the memory must keep logits."""

    of_samples: ClassVar[bool] = False
    """Whether it is a fact about the samples that were drawn, which a mixture of several has not."""

    needs_one_label: ClassVar[bool] = False
    """Whether each sample must have one label, so that logits (B, T, C) and (B, C, H, W) are refused."""

    memory_kind: ClassVar[type[Memory]] = Memory
    """The kind of memory that the objective must have, if it has one."""

    def available(self, step: Step) -> bool:
        """Whether there is anything to compare with at this step."""
        return not self.waits or all(step.teacher(name).ready for name in self.teachers)

    def wishes(self, shown: Shown) -> list[Wish]:
        """Every output of a teacher that `values` will use, so that one forward pass gives them all."""
        return []

    @abstractmethod
    def values(self, step: Step, shown: Shown) -> tuple[Any, Tensor | None]:
        """The target of each row, and the classes for which it is valid.

        Returns:
            (values, valid): labels (B, ...), logits (B, C) or an output of a teacher; bool (C,) or (B, C), None where
            all classes are valid.
        """
