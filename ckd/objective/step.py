"""One training step: what must be drawn and answered, each once, and what the terms make of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ckd.objective.batch import Batch
from ckd.objective.context import Context
from ckd.objective.draws import Draw, FromMemory
from ckd.objective.plan import POOL, STREAM, Question
from ckd.objective.pool import Drawn, each_once

if TYPE_CHECKING:
    from ckd.objective.objective import Objective


class Step:
    """Draws, answers and targets of one step, memoised.

    Terms that name the same draw and view share its samples, the student's answer and each teacher's.
    """

    def __init__(self, objective: Objective, stream: Batch, context: Context) -> None:
        self.objective, self.stream, self.context = objective, stream, context
        self.has_memory = objective.memory is not None and len(objective.memory) > 0
        """Whether there is anything to remember."""
        weights = [term.weigh(context) for term in objective.terms]
        active = [weight != 0 and term.available(self) for term, weight in zip(objective.terms, weights, strict=True)]
        self.plan = objective.plan(active, self)
        self._merges = context.merge and self.plan.merged is not None
        self._weights = [weight for weight, is_active in zip(weights, active, strict=True) if is_active]
        self._pool: Batch | None = None
        self._batches: dict[Question, Batch] = {STREAM: stream}
        self._remembered: dict[FromMemory, Batch] = {}
        self._answers: dict[Question, Tensor] = {}
        self._features: dict[Question, Tensor] = {}
        self._taught: dict[tuple[str, Question], Tensor] = {}
        self._taught_features: dict[tuple[str, Question], Tensor] = {}

    @property
    def questions(self) -> list[Question]:
        """What the student must be asked beside the stream itself."""
        return self.plan.merged if self._merges and self.plan.merged else self.plan.questions

    # what is drawn ---------------------------------------------------------------------------------------------

    def batch(self, question: Question | Draw) -> Batch:
        """The samples of a question, as the networks see them."""
        question = question if isinstance(question, Question) else Question(question)
        if question not in self._batches:
            if question.view is None:
                self._batches[question] = question.draw.realise(self)
            else:
                self._batches[question] = question.view(self.batch(question.draw).whole(), self.objective.generator)
        return self._batches[question]

    def remember(self, draw: FromMemory) -> Batch:
        """A new draw from memory, on the stream's device; those of all terms are gathered and prepared together."""
        if draw not in self._remembered:
            planned = draw in self.plan.draws
            draws = self.plan.draws if planned else [draw]
            self._remembered.update(zip(draws, self._draw_from_memory(len(draws), planned=planned), strict=True))
        return self._remembered[draw]

    def pool(self) -> Batch:
        """What the draws have taken between them, each sample once."""
        if self._pool is None:
            self.remember(self.plan.draws[0])
        assert self._pool is not None
        return self._pool

    def _draw_from_memory(self, draws: int, *, planned: bool) -> list[Batch]:
        """Batches of remembered samples; those that are `planned` share their samples and lie behind the stream."""
        memory = self.objective.memory
        assert memory is not None
        stored, here = memory.rows, self.stream.inputs.device
        there = stored.raw.device
        drawn = memory.draw(self.objective.memory_batch_size or self.stream.targets.shape[0], draws=draws)
        slots = drawn.to(there, non_blocking=True)
        batch = functools.partial(Drawn, stored, device=here, by_task=self.stream.tasks is not None)
        if not (planned and self._merges):
            inputs = self._prepared(stored.raw.index_select(0, slots).to(here), self.stream.room if planned else None)
            return [batch(own, x) for own, x in zip(slots.chunk(draws), inputs.chunk(draws), strict=True)]
        rows, places = each_once(drawn, len(memory))
        rows, self._places = rows.to(there, non_blocking=True), places.to(here, non_blocking=True)
        inputs = self._prepared(stored.raw.index_select(0, rows).to(here), self.stream.room)
        self._pool = batch(rows, inputs)
        gathers = [functools.partial(inputs.index_select, 0, own) for own in self._places.chunk(draws)]
        return [batch(own, gather) for own, gather in zip(slots.chunk(draws), gathers, strict=True)]

    def _prepared(self, raw: Tensor, room: Tensor | None) -> Tensor:
        """Network inputs for remembered samples, in the room for them if it is enough."""
        if room is None or room.shape[0] < raw.shape[0]:
            return self.context.prepare(raw, self.objective.generator)
        return self.context.prepare(raw, self.objective.generator, out=room[: raw.shape[0]])

    # what is answered ------------------------------------------------------------------------------------------

    def answer(self, question: Question, logits: Tensor, features: Tensor | None = None) -> None:
        """Note the student's answer (B, C), and features (B, D), to one of the `questions`, or to `STREAM`."""
        for noted, found in ((self._answers, logits), (self._features, features)):
            if found is None:
                continue
            noted[question] = found
            if question is POOL:
                parts = found.index_select(0, self._places).chunk(len(self.plan.drawn))
                noted.update(zip(self.plan.drawn, parts, strict=True))

    def student(self, question: Question) -> Tensor:
        """The student's logits (B, C), with their graph."""
        if question not in self._answers:
            parts = question.draw.parts(self)
            self._answers[question] = torch.cat([self._answers[Question(part)] for part in parts])
        return self._answers[question]

    def features(self, question: Question) -> Tensor:
        """What the student's head took in, (B, D), with its graph."""
        if question not in self._features:
            parts = question.draw.parts(self)
            self._features[question] = torch.cat([self._features[Question(part)] for part in parts])
        return self._features[question]

    def ask(self, teacher: str, question: Question) -> Tensor:
        """The teacher's logits (B, C), without a graph."""
        key = (teacher, question)
        if key not in self._taught:
            batch = self.batch(question)
            asked = self.objective.teachers[teacher]
            self._taught[key] = asked.answer(self.context.ask, batch.inputs, batch.tasks)
        return self._taught[key]

    def ask_features(self, teacher: str, question: Question) -> Tensor:
        """What the teacher's head takes in, (B, D), without a graph."""
        key = (teacher, question)
        if key not in self._taught_features:
            batch = self.batch(question)
            asked = self.objective.teachers[teacher]
            self._taught_features[key] = asked.features(self.context.ask, batch.inputs, batch.tasks)
        return self._taught_features[key]

    # what it is worth ------------------------------------------------------------------------------------------

    def criterion(self, own: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """The stream/labels term, a scalar: the strategy's `own` criterion unless the objective replaces it."""
        term, question = self.objective.criterion, self.plan.criterion
        if term is not None and term.loss is not None:
            value = term.value(self, question)
        else:
            value = own(self.student(question), self.batch(question).targets)
        weight = 1 if term is None else term.weigh(self.context)
        return value if weight == 1 else weight * value

    def values(self) -> dict[str, tuple[float, Tensor]]:
        """Weight and value, a scalar, of every active term by name; the criterion is not among them."""
        found = zip(self.plan.terms, self._weights, strict=True)
        return {term.name: (weight, term.value(self, question)) for (term, question), weight in found}

    def losses(self) -> dict[str, Tensor]:
        """The weighted value of every active term, scalars by name; the criterion is not among them."""
        return {name: weight * value for name, (weight, value) in self.values().items()}
