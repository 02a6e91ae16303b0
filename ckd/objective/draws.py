"""Where the samples of a term come from: the stream, the memory, both, or the stream through every old head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ckd.errors import ConfigError
from ckd.objective.batch import Batch, join
from ckd.objective.step import Draw, Step


@dataclass(frozen=True)
class Stream(Draw):
    """The mini-batch of the training loop."""

    def realise(self, step: Step) -> Batch:
        """The stream's own batch."""
        return step.stream


@dataclass(frozen=True)
class OldHeads(Draw):
    """The stream, through every head that was taught before; on a one-head model simply the stream.

    For T old heads the batch has T · B rows and the mean still runs over B samples: the heads' losses add up, as in
    Li & Hoiem 2016, arXiv:1606.09282, eq. 3.
    """

    def parts(self, step: Step) -> tuple[Draw, ...]:
        """The stream itself where there is one head for all."""
        return (self,) if step.moment.classes.old.per_task else (stream,)

    def realise(self, step: Step) -> Batch:
        """The stream's inputs once for each old task."""
        old, batch = step.moment.classes.old, step.stream
        if not old.per_task:
            return batch
        n = len(batch.targets)
        tasks = torch.tensor(old.tasks, device=batch.targets.device).repeat_interleave(n)
        inputs = torch.cat([batch.inputs] * len(old.tasks))
        return Batch(inputs, batch.targets.repeat(len(old.tasks)), tasks, samples=n)


@dataclass(frozen=True)
class Replay(Draw):
    """A draw of remembered samples; draws of different names are independent."""

    uses_memory: ClassVar[bool] = True

    name: str

    def available(self, step: Step) -> bool:
        """Once something is remembered."""
        return step.has_memory

    def realise(self, step: Step) -> Batch:
        """A fresh draw, prepared for the network anew."""
        return step.replay(self)


@dataclass(frozen=True)
class Union(Draw):
    """The stream and a draw from memory as one batch, so that one mean runs over both; the stream while it is empty."""

    uses_memory: ClassVar[bool] = True

    memory: Replay

    def parts(self, step: Step) -> tuple[Draw, ...]:
        """The stream, and the memory once there is something in it."""
        return (stream, self.memory) if step.has_memory else (stream,)

    def realise(self, step: Step) -> Batch:
        """Stream rows first, then remembered rows."""
        return join([step.batch(part) for part in self.parts(step)])


stream = Stream()
"""The mini-batch of the training loop."""

old_heads = OldHeads()
"""The stream, through every old head of a multi-head model."""


def replay(name: str) -> Replay:
    """A draw from memory under `name`: terms that use the same name share the samples."""
    return Replay(name)


def union(memory: Replay) -> Union:
    """The stream and a draw from memory as one batch.

    Raises:
        ConfigError: anything but `replay(...)`.
    """
    if not isinstance(memory, Replay):
        raise ConfigError("union", expected="a draw from memory", received=repr(memory), fix='Use union(replay("a")).')
    return Union(memory)
