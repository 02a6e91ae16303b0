"""What all steps with the same terms have in common, found out once and not at every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckd.objective.draws import Draw, FromMemory, Stream, View
from ckd.objective.feature_term import FeatureTerm
from ckd.objective.pool import Pool
from ckd.objective.term import Term

if TYPE_CHECKING:
    from ckd.objective.step import Step


@dataclass(frozen=True)
class Question:
    """A draw as it is shown to a network."""

    draw: Draw
    view: View | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.draw, self.view)))

    def __hash__(self) -> int:
        return self._hash  # type: ignore[attr-defined, no-any-return] # a step looks it up a dozen times


STREAM = Question(Stream())
POOL = Question(Pool())


class Plan:
    """What is asked and drawn by these terms, at `step` and at every other of its experience.

    Attributes:
        terms: what is added to the criterion, each with what it asks the student.
        criterion: what the criterion asks the student.
        questions: what the student must be asked beside the stream itself, in the order of the terms.
        draws: what must be drawn from memory, in that order.
        drawn: each of these as a question.
        merged: the same questions with all of memory's as one; None where that is not possible or there is but one.
        everything: the question, if a term has it, that is the stream and all of `questions` together.
        needs_features: whether the student's features must be noted with its answers.
    """

    def __init__(self, terms: Sequence[Term], criterion: Term | None, step: Step) -> None:
        self._known = {STREAM: STREAM}
        draws: dict[FromMemory, None] = {}
        self.criterion = STREAM if criterion is None else self._asked(criterion, draws, step)
        self.terms = [(term, self._asked(term, draws, step)) for term in terms]
        self.questions, self.draws = list(self._known)[1:], list(draws)
        others = [question for question in self.questions if question.draw not in draws]
        plain = not any(question.view for question in self.questions)
        self.drawn = [self._known.get(Question(draw), Question(draw)) for draw in draws]
        self.merged = [POOL, *others] if plain and len(draws) > 1 else None
        everything = tuple(question.draw for question in (STREAM, *self.questions))
        asked = (self.criterion, *(question for _, question in self.terms))
        unions = (question for question in asked if question.draw.parts(step) == everything and question.view is None)
        self.everything = next(unions, None) if len(everything) > 1 else None
        self.needs_features = any(isinstance(term, FeatureTerm) for term in terms)

    def _asked(self, term: Term, draws: dict[FromMemory, None], step: Step) -> Question:
        """What a term asks. Equal questions are one object, which a dictionary finds without comparing it."""
        parts = term.draw.parts(step)
        draws.update(dict.fromkeys(part for part in parts if isinstance(part, FromMemory)))
        leaves = [Question(term.draw, term.view)] if term.view else [Question(part) for part in parts]
        leaves = [self._known.setdefault(leaf, leaf) for leaf in leaves]
        return leaves[0] if len(leaves) == 1 else Question(term.draw)
