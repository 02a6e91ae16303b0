"""Checkpoints of a training loop of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ckd.checkpoint.about import about_engine, about_optimiser, check_every
from ckd.checkpoint.file import Saved
from ckd.checkpoint.folder import CheckpointError, Checkpoints, warn
from ckd.checkpoint.generators import random_state, restore_random
from ckd.checkpoint.model import describe, model_state, restore_model
from ckd.checkpoint.optimiser import optimiser_state, restore_optimiser
from ckd.checkpoint.place import labels_of, own_generators, pass_over
from ckd.devices import device_of
from ckd.engine import Engine
from ckd.engine.finite import check_weights

T = TypeVar("T")


class LoopCheckpoint:
    """Writes checkpoints in a loop of one's own, and lets it go on from the last one when the script is run again.

    Wrap the two loops: that over the experiences, and that over the mini-batches of a pass. A checkpoint is written
    after each experience, and every so many mini-batches. A script that was killed ends with the same numbers, bit for
    bit, as one that was not.

    What comes before `batches` in an experience is done again, with the random generators as they were then, and its
    effects on the model, the optimiser, the engine and the `others` are overwritten. Passes that were finished serve no
    mini-batch.

    A loader may draw its order from a generator of its own. The checkpoint after an experience is then written when the
    next one asks for its first mini-batch, as only then the state from which that generator goes on is known. Several
    such generators that take turns from pass to pass are not followed.

    Args:
        folder: where the checkpoints are.
        model: the student.
        optimizer: of its parameters.
        engine: what runs the objective, if any.
        every: mini-batches from one checkpoint within an experience to the next; 0 for none.
        keep: how many checkpoints are kept, the newest.
        settings: facts by name, such as hyper-parameters; a checkpoint of a run with others is refused.
        say: see `Checkpoints`.
        others: by name what else has `state_dict()` and `load_state_dict(state)`, a scheduler for one.

    Attributes:
        notes: plain data and tensors of your own by name, such as accuracies so far; saved and restored too. Look its
            entries up again within `batches`: they are replaced when it resumes.
        learnt: experiences that have been learnt.

    Raises:
        ConfigError: numbers that cannot work.
        CheckpointError: a folder that cannot be written.
        NonFiniteLossError: while training, weights that diverged, in the place of a checkpoint.

    Example:
        >>> import tempfile
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from ckd import recipes
        >>> stream = [TensorDataset(torch.randn(8, 2), torch.tensor([c, c + 1] * 4)) for c in (0, 2)]
        >>> folder = tempfile.TemporaryDirectory()
        >>> def script():
        ...     model = nn.Linear(2, 4)
        ...     optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        ...     engine = Engine(recipes.er(memory_size=10))
        ...     checkpoint = LoopCheckpoint(folder.name, model=model, optimizer=optimizer, engine=engine, every=2)
        ...     for data in checkpoint.experiences(stream):
        ...         engine.begin(data.tensors[1].unique().tolist())
        ...         for x, y in checkpoint.batches(DataLoader(data, batch_size=2, shuffle=True)):
        ...             optimizer.zero_grad()
        ...             engine.loss(model, x, y).backward()
        ...             optimizer.step()
        ...             engine.after_update(optimizer)
        ...         engine.end()
        ...     return model.weight
        >>> torch.equal(script(), script())  # there is nothing left to do for the second
        True
        >>> folder.cleanup()
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        engine: Engine | None = None,
        every: int = 0,
        keep: int = 2,
        settings: Mapping[str, Any] | None = None,
        say: Callable[[str], None] = warn,
        **others: Any,
    ) -> None:
        self.every = check_every(every)
        self.files = Checkpoints(folder, keep=keep, say=say)
        self.model, self.optimizer, self.engine, self.others = model, optimizer, engine, others
        self.notes: dict[str, Any] = {}
        self.learnt = 0
        self._about = {
            "model": describe(model),
            **about_optimiser(optimizer),
            **about_engine(engine),
            "others": sorted(others),
            **(settings or {}),
        }
        self._found: Saved | None = None
        self._resumed: dict[str, Any] | None = None  # the place within an experience that is still to be reached
        self._begin: dict[str, Any] = {}
        self._calls = self._steps = 0
        self._own = False  # whether a loader had a generator of its own

    def experiences(self, stream: Iterable[T]) -> Iterator[T]:
        """The experiences of `stream` that are left; restores the last checkpoint first, if there is one.

        A script that goes on iterates the stream anew. So the stream must not draw from the global random generators
        while it is iterated: make a list of it first.

        Raises:
            CheckpointError: there are checkpoints, and none of them is whole and of this run; a stream that draws
                random numbers while it is iterated.
            ModelError: a model of other shapes than the one that was saved.
        """
        self._found = self.files.latest(self._about)
        if self._found is not None:
            state = self._found.state(device_of(self.model))
            self._restore(state)
            self._resumed = state["place"]
        before = random_state()
        for data in islice(stream, self.learnt, None):
            if not _same(before, random_state()):
                raise CheckpointError(
                    "stream of a run with checkpoints",
                    expected="one that draws no random numbers while it is iterated",
                    received=f"draws before experience {self.learnt + 1}",
                    fix="Make a list of it first, or let it draw from a generator of its own.",
                )
            if self._resumed is not None:
                restore_random(self._resumed["begin"])
            self._begin, self._calls, self._steps = random_state(), 0, 0
            yield data
            self.learnt, self._resumed = self.learnt + 1, None
            if not self._own:
                self._save(None)
            before = random_state()
        if self._own:
            self._save(None)

    def batches(self, loader: Iterable[T]) -> Iterator[T]:
        """The mini-batches of one pass that are left: `loader` is iterated, and its order drawn, as it was then.

        Raises:
            CheckpointError: the loader serves other mini-batches than before.
        """
        self._calls += 1
        done, resumed, own = 0, self._resumed, own_generators(loader)
        self._own |= bool(own)
        if resumed is not None and self._calls < resumed["calls"]:
            return
        start = {"random": random_state(), "own": [generator.get_state() for generator in own]}
        if resumed is not None:
            start, done = resumed["start"], resumed["done"]
            restore_random(start["random"])
            for generator, state in zip(own, start["own"], strict=True):
                generator.set_state(state)
        batches = iter(loader)
        if resumed is not None and self._found is not None:
            pass_over(batches, done, resumed["last"])
            self._restore(self._found.state(device_of(self.model)))
            self._steps, self._resumed, self._found = resumed["steps"], None, None
        elif self._own and self._calls == 1 and self.learnt:
            self._save(self._place(start, 0, None))
        for batch in batches:
            yield batch
            done, self._steps = done + 1, self._steps + 1
            if self.every and self._steps % self.every == 0:
                self._save(self._place(start, done, labels_of(batch)))

    def _place(self, start: Mapping[str, Any], done: int, last: int | None) -> dict[str, Any]:
        place = {"calls": self._calls, "done": done, "steps": self._steps, "last": last}
        return {**place, "start": start, "begin": self._begin}

    def _save(self, place: Mapping[str, Any] | None) -> None:
        engine, experience = self.engine, self.learnt + (place is not None)
        check_weights(self.model, f"after {self._steps} mini-batches of experience {experience}")
        state = {
            "learnt": self.learnt,
            "place": place,
            "model": model_state(self.model),
            "optimizer": optimiser_state(self.optimizer, dict(self.model.named_parameters())),
            "engine": None if engine is None else engine.state_dict(),
            "losses": None if engine is None else engine.record.state_dict(),
            "others": {name: other.state_dict() for name, other in self.others.items()},
            "notes": self.notes,
            "random": random_state(),
        }
        self.files.save(state, self._about)

    def _restore(self, state: Mapping[str, Any]) -> None:
        restore_model(self.model, state["model"])
        if self.engine is not None:
            self.engine.load_state_dict(state["engine"], self.model)
            self.engine.record.load_state_dict(state["losses"])
        for name, other in self.others.items():
            other.load_state_dict(state["others"][name])
        restore_optimiser(self.optimizer, state["optimizer"], dict(self.model.named_parameters()))
        self.learnt = state["learnt"]
        self.notes.clear()
        self.notes.update(state["notes"])
        restore_random(state["random"])


def _same(one: Any, other: Any) -> bool:
    """Whether two random states are equal; a GPU that only one of them knows does not count."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return all(_same(one[name], other[name]) for name in one)
    return all(map(_same, one, other)) if isinstance(one, list) else bool(one == other)
