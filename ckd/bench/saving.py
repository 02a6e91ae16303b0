"""The checkpoints of a suite's runs: where they are, which run they are of, and what a signal does."""

from __future__ import annotations

import hashlib
import signal
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch

from ckd.bench.code import CODE
from ckd.bench.spec import RunSpec
from ckd.checkpoint import Checkpoints, locked
from ckd.data import TensorStream
from ckd.signals import Interrupted, handling, note, raise_interrupted

if TYPE_CHECKING:
    from ckd.plugins import Checkpoint

FOLDER = "checkpoints"
"""Beside a run's result, while it is not finished."""

BUDGET = 0.02
"""Share of a run's time that its checkpoints may take, unless it is said how many there shall be."""


@dataclass(frozen=True)
class Saving:
    """How the runs of a suite are saved while they are under way.

    Attributes:
        out: the output folder.
        every: steps from one checkpoint within an experience to the next; 0 for none.
        any_code: whether checkpoints are taken up even if other code made them.
    """

    out: Path
    every: int = 0
    any_code: bool = False

    def plugin(self, spec: RunSpec, stream: TensorStream, teachers: Sequence[bytes], **others: Any) -> Checkpoint:
        """What writes the checkpoints of a run.

        Raises:
            CheckpointError: a folder that cannot be written.
        """
        from ckd.plugins import Checkpoint

        about = {
            "run": str(spec.folder),
            "data": _digest(stream),
            "teachers": [hashlib.sha256(content).hexdigest()[:8] for content in teachers],
            **({} if self.any_code else {"code": CODE}),
        }
        folder = self.out / spec.folder / FOLDER
        return Checkpoint(folder, every=self.every, budget=BUDGET, settings=about, say=_say, others=others)

    def locked(self, spec: RunSpec) -> AbstractContextManager[None]:
        """Within this, no other process does the run.

        Raises:
            CheckpointError: another one does it.
        """
        return locked(self.out / spec.folder / FOLDER)

    def remove(self, spec: RunSpec) -> None:
        """Remove the checkpoints of a run.

        Raises:
            CheckpointError: another process is at it.
        """
        folder = self.out / spec.folder / FOLDER
        if folder.is_dir():
            with self.locked(spec):
                Checkpoints(folder).remove()


def say_that_it_goes_on(spec: RunSpec, steps: int) -> None:
    """Say so, of a run that was taken up after so many steps."""
    _say(f"{spec.name} goes on after {steps} steps")


@contextmanager
def saving_first(checkpoint: Checkpoint) -> Iterator[None]:
    """Within this, Ctrl-C and SIGTERM let the run save at the end of the step and raise `Interrupted` then.

    A second signal ends it at once; in a worker of a suite, which may be sent several, it changes nothing. A run that
    ends before it could save is noted for `raise_noted`, so that no other run begins.
    """
    asked: list[int] = []

    def handler(signum: int, frame: FrameType | None) -> None:
        if not asked:
            asked.append(signum)
            checkpoint.stop(partial(Interrupted, signum, saved=True))
            if parent_process() is None:
                _say("saving, then stopping; once more to stop at once")
        elif parent_process() is None:
            raise_interrupted(signum, frame)

    try:
        with handling(handler, signal.SIGINT, signal.SIGTERM):
            yield
    finally:
        for signum in asked:
            note(signum)


def _digest(stream: TensorStream) -> str:
    """Of samples and labels; it changes with any of them."""
    experiences = [*stream.train, *stream.test]
    found, bases = 0, {id(experience.base): experience.base for experience in experiences}
    for tensor in (*bases.values(), *(experience.targets for experience in experiences)):
        found = zlib.crc32(tensor.contiguous().flatten().view(torch.uint8).numpy().data, found)
    return f"{found:08x}"


def _say(said: str) -> None:
    print(f"ckd: {said}", file=sys.stderr, flush=True)
