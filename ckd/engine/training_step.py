"""One training step: every draw and every output once, and what the terms make of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ckd.engine.passes import Passes
from ckd.engine.plan import STREAM
from ckd.engine.rehearsal import Prepare, Rehearsal
from ckd.errors import ModelError
from ckd.memory import Memory
from ckd.objective.batch import Batch, join
from ckd.objective.draws import Replay
from ckd.objective.moment import Moment
from ckd.objective.objective import Objective
from ckd.objective.step import Draw, Shown
from ckd.outputs import Capture, Output, call, logits
from ckd.teachers import Teacher


class TrainingStep:
    """Draws, outputs and targets of one step; `ckd.objective.step.Step` says what terms may use of it.

    Whoever owns the training loop shows the student `inputs` (and `tasks`), and gives `receive` what it returns.

    Attributes:
        inputs: what the student is to be shown: the stream, and in a joint pass everything else behind it.
        tasks, targets: the task labels and labels of `inputs`.
    """

    def __init__(self, objective: Objective, moment: Moment, stream: Batch, passes: Passes, prepare: Prepare) -> None:
        self.objective, self.moment, self.stream = objective, moment, stream
        self.memory: Memory | None = objective.memory
        self.has_memory = self.memory is not None and self.memory.can_draw
        weights = [term.weight_at(moment) for term in objective.terms]
        active = [weight != 0 and term.available(self) for term, weight in zip(objective.terms, weights, strict=True)]
        self.plan = passes.plan(active, objective, self)
        self._passes, self._prepare = passes, prepare
        self._weights = [weight for weight, is_active in zip(weights, active, strict=True) if is_active]
        self._rehearsal: Rehearsal | None = None
        self._batches: dict[Shown, Batch] = {STREAM: stream}
        self._outputs: dict[Output, dict[Shown, Any]] = {logits: {}}
        self._teacher_outputs: dict[tuple[str, Shown], dict[Output, Any]] = {}
        self._capture: Capture | None = None

    # what is drawn ---------------------------------------------------------------------------------------------

    def batch(self, shown: Draw | Shown) -> Batch:
        """The samples of a draw, as the networks see them."""
        shown = shown if isinstance(shown, Shown) else Shown(shown)
        batch = self._batches.get(shown)
        if batch is None:
            drawn = shown.draw.realise(self) if shown.view is None else self.batch(shown.draw)
            batch = drawn if shown.view is None else shown.view(drawn, self.objective.generator)
            self._batches[shown] = batch
        return batch

    def replay(self, draw: Draw) -> Batch:
        """A draw from memory; those of all terms are gathered and prepared together."""
        assert isinstance(draw, Replay)
        if draw in self.plan.replays:
            return self._rehearse().batches[draw]
        return self._draw([draw], [draw], unique=False).batches[draw]  # a user's own target or draw wants it

    def _rehearse(self) -> Rehearsal:
        if self._rehearsal is None:
            self._rehearsal = self._draw(self.plan.replays, self.plan.plain, unique=self._passes.unique)
        return self._rehearsal

    def _draw(self, draws: Sequence[Replay], plain: Sequence[Replay], *, unique: bool) -> Rehearsal:
        assert self.memory is not None
        n = self.objective.memory_batch_size or self.stream.targets.shape[0]
        return Rehearsal(
            self.memory,
            draws,
            plain,
            n,
            prepare=self._prepare,
            device=self.stream.inputs.device,
            by_task=self.stream.tasks is not None,
            unique=unique,
        )

    # what the student is shown ---------------------------------------------------------------------------------

    def open(self, student: nn.Module) -> None:
        """Draw everything, and watch the modules of `student` that terms tap, until `close`."""
        self._student = student
        if self._passes.joint and self.plan.shown:
            self._blocks = self._joint_blocks()
            union = self.plan.union
            self._together = self.batch(union) if union else join([batch for batch, _ in self._blocks])
        else:
            self._blocks = [(self.batch(shown), (shown,)) for shown in (STREAM, *self.plan.shown)]
            self._together = self.stream
        self.inputs, self.tasks = self._together.inputs, self._together.tasks
        if self.plan.taps:
            self._capture = Capture(student, self.plan.taps, self._passes.head).__enter__()

    @property
    def targets(self) -> Tensor:
        """The labels of `inputs`, joined when they are asked for."""
        return self._together.targets

    def receive(self, outputs: Tensor) -> Tensor:
        """Take what the student returned for `inputs`; returns the part that is the stream's, (B, C).

        What is not in a joint pass is shown to the student now, one draw after the other. `close` follows.
        """
        if self._passes.joint and self.plan.shown:
            sizes = [batch.inputs.shape[0] for batch, _ in self._blocks]
            for output, value in self._found(outputs).items():
                if self.plan.union is not None:
                    self._outputs.setdefault(output, {})[self.plan.union] = value
                for (_, shown), part in zip(self._blocks, _split(value, sizes), strict=True):
                    self._note(shown, output, part)
        else:
            for i, (batch, shown) in enumerate(self._blocks):
                own = self._shown(batch) if i else outputs
                for output, value in self._found(own).items():
                    self._note(shown, output, value)
        stream: Tensor = self._outputs[logits][STREAM]
        return stream

    def _shown(self, batch: Batch) -> Tensor:
        """What the student returns for a draw by itself."""
        try:
            return call(self._student, batch.inputs, batch.tasks)
        except ValueError as error:
            if len(batch.inputs) > 1 or "more than 1 value per channel" not in str(error):
                raise
            fix = "Use a larger memory, or joint=True, which shows them with the stream's."
            what, expected = "network with batch normalisation", "draws of 2 samples or more"
            raise ModelError(what, expected=expected, received="a draw of one", fix=fix) from error

    def close(self) -> None:
        """Stop watching, after `receive` or a forward pass that failed."""
        if self._capture is not None:
            self._capture.__exit__()

    def _joint_blocks(self) -> list[tuple[Batch, tuple[Shown, ...]]]:
        """The batches of a joint pass, each with its draws: the stream, all plain draws from memory, the others."""
        plain = tuple(self.plan.shown[: len(self.plan.plain)])
        others = [(self.batch(shown), (shown,)) for shown in self.plan.shown[len(plain) :]]
        return [(self.stream, (STREAM,)), *([(self._rehearse().shown, plain)] if plain else []), *others]

    def _found(self, outputs: Tensor) -> dict[Output, Any]:
        """Every output of the last forward pass."""
        if self._capture is None:
            return {logits: outputs}
        return {logits: outputs, **{tapped: self._capture[tapped] for tapped in self.plan.taps}}

    def _note(self, shown: tuple[Shown, ...], output: Output, value: Any) -> None:
        """Note an output for a draw, or for the draws that share its rows."""
        found = self._outputs.setdefault(output, {})
        if len(shown) == 1:
            found[shown[0]] = value
            return
        spread = self._rehearse().by_draw
        parts = zip(*map(spread, value), strict=True) if isinstance(value, tuple) else spread(value)
        found.update(zip(shown, parts, strict=True))

    # what the networks return ----------------------------------------------------------------------------------

    def student(self, shown: Shown, output: Output = logits) -> Any:
        """An output of the student, with its graph."""
        found = self._outputs[output]
        value = found.get(shown)
        if value is None:
            parts = [found[Shown(part)] for part in shown.draw.parts(self)]
            several = isinstance(parts[0], tuple)
            value = found[shown] = tuple(map(torch.cat, zip(*parts, strict=True))) if several else torch.cat(parts)
        return value

    def teacher(self, name: str) -> Teacher:
        """The objective's teacher called `name`."""
        return self.objective.teachers[name]

    def teacher_output(self, name: str, shown: Shown, output: Output = logits) -> Any:
        """An output of a teacher, without a graph; all that is wanted of it comes from one forward pass."""
        key = (name, shown)
        found = self._teacher_outputs.get(key)
        if found is None or output not in found:
            batch, wanted = self.batch(shown), self.plan.teachers.get(key, ())
            wanted = wanted if output in wanted else (*wanted, output)
            found = self._teacher_outputs[key] = self.teacher(name).outputs(batch.inputs, batch.tasks, wanted)
        return found[output]

    # what it is worth ------------------------------------------------------------------------------------------

    def criterion(self, own: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """The stream/labels term, a scalar: the training loop's `own` criterion unless the objective replaces it."""
        term, shown = self.objective.criterion, self.plan.criterion
        if term is not None and term.loss is not None:
            value = term.value(self, shown)
        else:
            targets = self.batch(shown).targets if term is None else term.target.values(self, shown)[0]
            value = own(self.student(shown), targets)
        weight = 1 if term is None else term.weight_at(self.moment)
        return value if weight == 1 else weight * value

    def values(self) -> dict[str, tuple[float, Tensor]]:
        """Weight and value, a scalar, of every active term by name; the criterion is not among them."""
        found = zip(self.plan.terms, self._weights, strict=True)
        return {term.name: (weight, term.value(self, shown)) for (term, shown), weight in found}


def _split(value: Any, sizes: list[int]) -> list[Any]:
    """A tensor, or a tuple of several, cut into pieces of so many rows."""
    if isinstance(value, tuple):
        return list(zip(*(one.split_with_sizes(sizes) for one in value), strict=True))
    return list(value.split_with_sizes(sizes))
