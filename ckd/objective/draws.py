"""Where the samples of a term come from: the stream, the memory, both, or the stream asked of every old head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ckd.objective.batch import Batch, join

if TYPE_CHECKING:
    from ckd.objective.step import Step

View = Callable[[Batch, torch.Generator], Batch]
"""Changes what the network is shown of a draw (mixes, augments); the generator is the memory's own."""


@dataclass(frozen=True)
class Draw(ABC):
    """A named source of samples. Two draws that are equal are one draw: drawn once and answered once a step."""

    @property
    def uses_memory(self) -> bool:
        """Whether the objective must have a memory."""
        return False

    def available(self, step: Step) -> bool:
        """Whether there is anything to draw at this step."""
        return True

    def parts(self, step: Step) -> tuple[Draw, ...]:
        """The draws that the student answers one by one; itself unless it is a union."""
        return (self,)

    @abstractmethod
    def realise(self, step: Step) -> Batch:
        """The batch of this step."""


@dataclass(frozen=True)
class Stream(Draw):
    """The mini-batch that the strategy trains on."""

    def realise(self, step: Step) -> Batch:
        """The stream's own batch."""
        return step.stream


@dataclass(frozen=True)
class OldHeads(Draw):
    """The stream, asked of every head that was taught before; on a one-head model simply the stream.

    For T old heads the batch has T · B rows and the mean still runs over B samples: the heads' losses add up, as in
    Li & Hoiem 2016, arXiv:1606.09282, eq. 3.
    """

    def parts(self, step: Step) -> tuple[Draw, ...]:
        """The stream itself where there is one head for all."""
        return (self,) if step.context.classes.old.per_task else (Stream(),)

    def realise(self, step: Step) -> Batch:
        """The stream's inputs once for each old task."""
        heads, stream = step.context.classes.old.tasks, step.stream
        if not step.context.classes.old.per_task:
            return stream
        tasks = torch.tensor(heads, device=stream.targets.device).repeat_interleave(len(stream.targets))
        inputs = torch.cat([stream.inputs] * len(heads))
        return Batch(inputs, stream.targets.repeat(len(heads)), tasks, samples=len(stream.targets))


@dataclass(frozen=True)
class FromMemory(Draw):
    """A draw of remembered samples; draws of different names are independent."""

    name: str

    @property
    def uses_memory(self) -> bool:
        """True."""
        return True

    def available(self, step: Step) -> bool:
        """Once something is remembered."""
        return step.has_memory

    def realise(self, step: Step) -> Batch:
        """A fresh draw, prepared for the network anew."""
        return step.remember(self)


@dataclass(frozen=True)
class Union(Draw):
    """The stream and a draw from memory as one batch, so that one mean runs over both."""

    memory: FromMemory

    @property
    def uses_memory(self) -> bool:
        """True; while it is empty, the union is the stream."""
        return True

    def parts(self, step: Step) -> tuple[Draw, ...]:
        """The stream, and the memory once there is something in it."""
        return (Stream(), self.memory) if step.has_memory else (Stream(),)

    def realise(self, step: Step) -> Batch:
        """Stream rows first, then remembered rows."""
        return join([step.batch(part) for part in self.parts(step)])


stream = Stream()
old_heads = OldHeads()


def memory(name: str) -> FromMemory:
    """A draw from memory under `name`: terms that use the same name share the samples."""
    return FromMemory(name)


def union(memory: FromMemory) -> Union:
    """The stream and `memory` as one batch."""
    return Union(memory)
