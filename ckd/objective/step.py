"""One training step: what must be drawn and answered, each once, and what the terms make of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ckd.objective.batch import Batch
from ckd.objective.context import Context
from ckd.objective.draws import Draw, FromMemory, Stream, View
from ckd.objective.feature_term import FeatureTerm
from ckd.objective.term import Term

if TYPE_CHECKING:
    from ckd.objective.objective import Objective


@dataclass(frozen=True)
class Question:
    """A draw as it is shown to a network."""

    draw: Draw
    view: View | None = None


STREAM = Question(Stream())


class Step:
    """Draws, answers and targets of one step, memoised.

    Terms that name the same draw and view share its samples, the student's answer and each teacher's.
    """

    def __init__(self, objective: Objective, stream: Batch, context: Context) -> None:
        self.objective, self.stream, self.context = objective, stream, context
        weighed = [(term, term.weigh(context)) for term in objective.terms]
        self.terms = [(term, weight) for term, weight in weighed if weight != 0 and self._possible(term)]
        criterion = [objective.criterion] if objective.criterion else []
        self._asking = [*criterion, *(term for term, _ in self.terms)]
        self._batches: dict[Question, Batch] = {STREAM: stream}
        self._remembered: dict[FromMemory, Batch] = {}
        self._answers: dict[Question, Tensor] = {}
        self._features: dict[Question, Tensor] = {}
        self._taught: dict[tuple[str, Question], Tensor] = {}
        self._taught_features: dict[tuple[str, Question], Tensor] = {}

    def _possible(self, term: Term) -> bool:
        return term.draw.available(self) and term.target.available(self)

    @property
    def has_memory(self) -> bool:
        """Whether there is anything to remember."""
        return self.objective.memory is not None and len(self.objective.memory) > 0

    # what is drawn ---------------------------------------------------------------------------------------------

    def question(self, term: Term) -> Question:
        """What the term asks the student."""
        parts = term.draw.parts(self) if term.view is None else ()
        return Question(parts[0]) if len(parts) == 1 else Question(term.draw, term.view)

    @functools.cached_property
    def questions(self) -> list[Question]:
        """What the student must be asked beside the stream itself, in the order of the terms."""
        wanted: dict[Question, None] = {}
        for term in self._asking:
            question = self.question(term)
            leaves = [question] if question.view else [Question(part) for part in question.draw.parts(self)]
            wanted.update(dict.fromkeys(leaves))
        wanted.pop(STREAM, None)
        return list(wanted)

    def batch(self, question: Question | Draw) -> Batch:
        """The samples of a question, as the networks see them."""
        question = question if isinstance(question, Question) else Question(question)
        if question not in self._batches:
            if question.view is None:
                self._batches[question] = question.draw.realise(self)
            else:
                self._batches[question] = question.view(self.batch(question.draw), self.objective.generator)
        return self._batches[question]

    def remember(self, draw: FromMemory) -> Batch:
        """A new draw from memory, on the stream's device; those of all terms are gathered and prepared together."""
        if draw not in self._remembered:
            draws = list(dict.fromkeys([*self._memory_draws(), draw]))
            self._remembered.update(zip(draws, self._draw_from_memory(len(draws)), strict=True))
        return self._remembered[draw]

    def _memory_draws(self) -> Iterator[FromMemory]:
        for term in self._asking:
            for part in term.draw.parts(self):
                if isinstance(part, FromMemory):
                    yield part

    def _draw_from_memory(self, draws: int) -> list[Batch]:
        assert self.objective.memory is not None
        n = self.objective.memory_batch_size or len(self.stream.targets)
        rows = self.objective.memory.sample(n, draws=draws).to(self.stream.inputs.device)
        tasks = None if self.stream.tasks is None else rows.tasks
        inputs = self.context.prepare(rows.raw, self.objective.generator)
        columns = (inputs, rows.targets, tasks, rows.logits, rows.experiences)
        if draws == 1:
            return [Batch(*columns)]
        size = len(rows) // draws
        parts = [[None] * draws if column is None else torch.split(column, size) for column in columns]
        return [Batch(*batch) for batch in zip(*parts, strict=True)]

    # what is answered ------------------------------------------------------------------------------------------

    @property
    def needs_features(self) -> bool:
        """Whether the student's features must be noted with its answers."""
        return any(isinstance(term, FeatureTerm) for term, _ in self.terms)

    def answer(self, question: Question, logits: Tensor, features: Tensor | None = None) -> None:
        """Note the student's answer (B, C), and features (B, D), to one of the `questions`, or to `STREAM`."""
        self._answers[question] = logits
        if features is not None:
            self._features[question] = features

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
        term = self.objective.criterion
        if term is None:
            return own(self.student(STREAM), self.stream.targets)
        question = self.question(term)
        value = term.value(self) if term.loss else own(self.student(question), self.batch(question).targets)
        weight = term.weigh(self.context)
        return value if weight == 1 else weight * value

    def losses(self) -> dict[str, Tensor]:
        """The weighted value of every active term, scalars by name; the criterion is not among them."""
        return {term.name: weight * term.value(self) for term, weight in self.terms}
