"""Checkpoints in an Avalanche training loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from avalanche.core import SupervisedPlugin

from ckd.checkpoint import Checkpoints, Rest, Saved, labels_of, random_state, restore_random, warn
from ckd.checkpoint.about import check_every
from ckd.engine.finite import check_weights
from ckd.errors import ConfigError
from ckd.numbers import check_number
from ckd.plugins.relived import relive
from ckd.plugins.resumable import about, check_loader, check_strategy, restore, saved

LEAST = 0.1
"""Seconds that a checkpoint is thought to take at least, before the first one too."""


class Stopped(KeyboardInterrupt):
    """Training was stopped at the end of a step, after a checkpoint."""


class Checkpoint(SupervisedPlugin):  # type: ignore[misc]
    """Writes checkpoints, and lets a script that was killed go on where it was when it is run again.

    A checkpoint is written after each experience, when the body of the loop over `resume(...)` is done, and every so
    many steps within it. It holds the model, the optimiser, every plugin with a state (memory, teachers and all other
    parts of an objective), the random generators, and the place in the stream and in the shuffled epoch. The run ends
    with the same numbers, bit for bit, as one that was not killed, and as one without checkpoints. Heads that grow have
    grown again. What Avalanche's own metrics and loggers noted is not kept; `AccuracyRecorder` is.

    Weights that are NaN or infinite are refused, so that the last checkpoint is always one to go on from.

    With a `budget`, one after an experience is left out where checkpoints would take more than that share of the time;
    those every so many steps are not.

    A plugin of your own is saved if it has `state_dict()`, of tensors and plain data, and
    `load_state_dict(state, strategy)`.

    Args:
        folder: where the checkpoints are.
        every: steps from one checkpoint within an experience to the next; 0 for none.
        keep: how many checkpoints are kept, the newest.
        budget: share of the time that checkpoints may take, such as 0.02; None for no bound.
        settings: facts by name, such as hyper-parameters; a checkpoint of a run with others is refused.
        say: called with a sentence when a checkpoint is passed over or could not be written; warns unless given.
        others: by name what else has `state_dict()` and `load_state_dict(state)`.

    Raises:
        ConfigError: numbers that cannot work; when training starts, a strategy or a plugin whose state is not known.
        CheckpointError: a folder that cannot be written.
        NonFiniteLossError: while training, weights that diverged, in the place of a checkpoint.

    Example:
        >>> import tempfile, torch
        >>> from avalanche.training import Naive
        >>> from ckd import AccuracyRecorder, SelfDistillation
        >>> from ckd.data import benchmark
        >>> from ckd.networks import network
        >>> stream = benchmark("split-digits", n_experiences=2, samples_per_class=4).train_stream
        >>> folder = tempfile.TemporaryDirectory()
        >>> def script():
        ...     model = network("mlp", (1, 8, 8), 10)
        ...     checkpoint = Checkpoint(folder.name, every=100)
        ...     strategy = Naive(
        ...         model=model,
        ...         optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        ...         criterion=torch.nn.CrossEntropyLoss(),
        ...         plugins=[SelfDistillation(memory_size=20), checkpoint],
        ...         evaluator=AccuracyRecorder(),
        ...     )
        ...     learnt = 0
        ...     for experience in checkpoint.resume(strategy, stream):
        ...         _ = strategy.train(experience)
        ...         learnt += 1
        ...     return learnt
        >>> script(), script()
        (2, 0)
        >>> folder.cleanup()
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        every: int = 0,
        keep: int = 2,
        budget: float | None = None,
        settings: Mapping[str, Any] | None = None,
        say: Callable[[str], None] = warn,
        others: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if budget is not None:
            check_number("budget of checkpoints", budget, fits="from 0 to 1", fix="Try 0.02, or leave it out.")
        self.every, self.budget = check_every(every), budget
        self.files = Checkpoints(folder, keep=keep, say=say)
        self.others = dict(others or {})
        self.learnt = 0
        """Experiences that have been learnt."""
        self.resumed = False
        """Whether this run goes on from a checkpoint."""
        self._settings = dict(settings or {})
        self._about: dict[str, Any] | None = None
        self._found: Saved | None = None
        self._place: dict[str, Any] | None = None  # within an experience, still to be reached
        self._begin: dict[str, Any] = {}
        self._start: dict[str, Any] = {}
        self._epoch = self._done = self._steps = self._left_out = 0
        self._stop: Callable[[], BaseException] | None = None
        self._begun = time.perf_counter()
        self._spent, self._last = 0.0, LEAST  # seconds of all checkpoints, and of one

    def resume(self, strategy: Any, stream: Iterable[Any]) -> Iterator[Any]:
        """The experiences of `stream` that are left; restores the last checkpoint first, if there is one.

        Raises:
            ConfigError: a strategy without this plugin, or one whose state is not known.
            CheckpointError: there are checkpoints, and none of them is whole and of this run.
            ModelError: a model of another kind than the one that was saved.
        """
        if self not in strategy.plugins:
            expected, fix = "a strategy with this plugin", "Write Naive(..., plugins=[..., checkpoint])."
            raise ConfigError("Checkpoint.resume", expected=expected, received="one without", fix=fix)
        check_strategy(strategy, within=self.every > 0)
        others = [plugin for plugin in strategy.plugins if plugin is not self and plugin is not strategy.clock]
        strategy.plugins = [*others, self, strategy.clock]  # a step ends here when all but the clock have seen its end
        lessons = list(stream)
        self._about = {**about(strategy, lessons), **self._settings}
        self._found = self.files.latest(self._about)
        if self._found is not None:
            state = self._found.state(strategy.device)
            self.learnt, self._place, self.resumed = state["learnt"], state["place"], True
            relive(strategy, lessons, self.learnt, within=self._place is not None, tensors=state["model"]["tensors"])
            self._restore(strategy, state)
            if self._place is None:
                self._found = None  # it is as large as the run's state
        return self._left(strategy, lessons)

    def stop(self, error: Callable[[], BaseException] = Stopped) -> None:
        """Write a checkpoint at the end of the step, or of the experience, that is under way; then raise this error.

        For a handler of signals; the other calls are for the thread that trains.
        """
        self._stop = error

    def save(self, strategy: Any) -> None:
        """Write a checkpoint now, between two experiences."""
        self._save(strategy, None)

    def _left(self, strategy: Any, lessons: list[Any]) -> Iterator[Any]:
        for lesson in lessons[self.learnt :]:
            if self._place is not None:
                restore_random(self._place["begin"])
            self._begin, self._epoch, self._steps = random_state(), 0, 0
            yield lesson
            self.learnt += 1
            if self._stop is not None or self._affordable():
                self._save(strategy, None)

    def _affordable(self) -> bool:
        """Whether another checkpoint stays within the budget."""
        if self.budget is None or self.every:
            return True
        return self._spent + self._last <= self.budget * (time.perf_counter() - self._begun)

    # the training loop's hooks -----------------------------------------------------------------------------------

    def before_training(self, strategy: Any, **kwargs: Any) -> None:
        """Refuse a loop that does not ask what is left."""
        if self._about is None:
            fix = "Write `for experience in checkpoint.resume(strategy, benchmark.train_stream): strategy.train(...)`."
            raise ConfigError("Checkpoint", expected="a loop over what is left", received="another", fix=fix)

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Leave out the epochs that were finished: the loop over them reads their number once, after this."""
        if self._place is not None:
            self._epoch = self._left_out = self._place["epoch"]
            strategy.train_epochs -= self._left_out

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Note the random generators that the order is drawn with; or draw the same order again."""
        strategy.train_epochs += self._left_out
        self._left_out, place = 0, self._place
        if self.every or place is not None:
            check_loader(strategy.dataloader)
        if place is None:
            self._start, self._done = random_state(), 0
            return
        self._start, self._done, self._steps = place["start"], place["done"], place["steps"]
        restore_random(self._start)
        loader = strategy.dataloader

        def then() -> None:
            assert self._found is not None
            strategy.dataloader = loader
            self._restore(strategy, self._found.state(strategy.device))
            self._place = self._found = None

        strategy.dataloader = Rest(loader, self._done, place["last"], then)

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Write a checkpoint, if it is time; stop, if that was asked for."""
        self._done, self._steps = self._done + 1, self._steps + 1
        if (self.every and self._steps % self.every == 0) or self._stop is not None:
            place: dict[str, Any] = {"epoch": self._epoch, "done": self._done, "steps": self._steps}
            place |= {"last": labels_of(strategy.mbatch), "start": self._start, "begin": self._begin}
            self._save(strategy, place)

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Count."""
        self._epoch += 1

    def _save(self, strategy: Any, place: dict[str, Any] | None) -> None:
        assert self._about is not None
        begun = time.perf_counter()
        within = place is not None
        steps, experience = strategy.clock.train_iterations + within, self.learnt + within
        check_weights(strategy.model, f"after {steps} steps, in experience {experience}")
        clock = {**vars(strategy.clock)}
        if within:  # it counts the step after this
            for name in ("train_iterations", "train_exp_iterations", "train_epoch_iterations", "total_iterations"):
                clock[name] += 1
        state = {
            "learnt": self.learnt,
            "place": place,
            "clock": clock,
            **saved(strategy),
            "others": {name: other.state_dict() for name, other in self.others.items()},
            "random": random_state(),
        }
        self.files.save(state, self._about)
        self._last = max(LEAST, time.perf_counter() - begun)
        self._spent += self._last
        if self._stop is not None:
            raise self._stop()

    def _restore(self, strategy: Any, state: Mapping[str, Any]) -> None:
        restore(strategy, state)
        vars(strategy.clock).update(state["clock"])
        for name, other in self.others.items():
            other.load_state_dict(state["others"][name])
        restore_random(state["random"])
