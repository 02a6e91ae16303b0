"""What a training step offers to terms, targets and draws: a protocol, so that they know nothing of the engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from ckd.errors import ConfigError
from ckd.memory import Memory
from ckd.objective.batch import Batch, View
from ckd.objective.moment import Moment
from ckd.outputs import Output, logits
from ckd.teachers import Teacher


class Step(Protocol):
    """Draws and outputs of one step, each computed once, however many terms name them."""

    moment: Moment
    stream: Batch
    memory: Memory | None

    has_memory: bool
    """Whether there is a remembered sample to draw."""

    def batch(self, shown: Draw | Shown) -> Batch:
        """The samples of a draw, as they are or through a view."""
        ...

    def student(self, shown: Shown, output: Output = logits) -> Any:
        """An output of the student, with its graph: a tensor, or a tuple for several taps."""
        ...

    def teacher(self, name: str) -> Teacher:
        """The objective's teacher called `name`."""
        ...

    def teacher_output(self, name: str, shown: Shown, output: Output = logits) -> Any:
        """An output of a teacher, without a graph: a tensor, or a tuple for several taps."""
        ...

    def replay(self, draw: Draw) -> Batch:
        """A draw from memory."""
        ...


class Draw(ABC):
    """A source of samples. Two draws that are equal are one draw: drawn once and shown once a step.

    Where that depends on settings, make it a `dataclass(frozen=True)`; otherwise each object is a draw of its own.
    """

    uses_memory: ClassVar[bool] = False
    """Whether the objective must have a memory."""

    def available(self, step: Step) -> bool:
        """Whether there is anything to draw at this step."""
        return True

    def parts(self, step: Step) -> tuple[Draw, ...]:
        """The draws that the student is shown one by one; itself unless it is a union."""
        return (self,)

    @abstractmethod
    def realise(self, step: Step) -> Batch:
        """The batch of this step."""


@dataclass(frozen=True)
class Shown:
    """A draw as a network is shown it: through a view, or as it is."""

    draw: Draw
    view: View | None = None

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "_hash", hash((self.draw, self.view)))
        except TypeError as error:
            received, fix = f"{self.draw!r} and {self.view!r}", "Write @dataclass(frozen=True) above your own."
            raise ConfigError("what is shown", expected="hashable draw and view", received=received, fix=fix) from error

    def __hash__(self) -> int:
        return self._hash  # type: ignore[attr-defined, no-any-return] # a step looks it up a dozen times
