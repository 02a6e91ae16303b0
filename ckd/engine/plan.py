"""Which forward passes the steps of an experience need: decided once for each set of terms."""

from __future__ import annotations

from collections.abc import Sequence

from ckd.objective.draws import Replay, stream
from ckd.objective.step import Shown, Step
from ckd.objective.term import Term
from ckd.outputs import Output

STREAM = Shown(stream)


class Plan:
    """What is drawn, and what student and teachers are shown, at `step` and every other one with the same terms.

    Attributes:
        terms: what is added to the criterion, each with what it shows the student.
        criterion: what the criterion shows the student.
        shown: what the student is shown beside the stream itself; plain draws from memory first.
        replays: what is drawn from memory, in the order of the terms.
        plain: those of them that the student is shown as they are.
        union: the term's draw that is the stream and all of `shown` together, if there is one.
        taps: what the student's forward passes must give beside its logits.
        teachers: for each teacher and what it is shown, all of the outputs that are wanted.
    """

    def __init__(self, terms: Sequence[Term], criterion: Term | None, step: Step) -> None:
        self._known = {STREAM: STREAM}
        replays: dict[Replay, None] = {}
        self.criterion = STREAM if criterion is None else self._shown(criterion, replays, step)
        self.terms = [(term, self._shown(term, replays, step)) for term in terms]
        self.replays = list(replays)
        shown = list(self._known)[1:]
        self.plain = [draw for draw in self.replays if Shown(draw) in self._known]
        plain = [self._known[Shown(draw)] for draw in self.plain]
        self.shown = [*plain, *(one for one in shown if one not in plain)]
        self.union = self._whole(step)
        pairs = [*self.terms, *([(criterion, self.criterion)] if criterion else [])]
        self.taps = tuple(dict.fromkeys(term.output for term, _ in pairs if not term.output.is_logits))
        self.teachers: dict[tuple[str, Shown], tuple[Output, ...]] = {}
        for term, input_of in pairs:
            for name, seen, output in term.target.wishes(input_of):
                known = self.teachers.get((name, seen), ())
                self.teachers[name, seen] = known if output in known else (*known, output)

    def _shown(self, term: Term, replays: dict[Replay, None], step: Step) -> Shown:
        """What a term shows the student. Equal ones are one object, which a dictionary finds without comparing it."""
        parts = term.draw.parts(step)
        replays.update(dict.fromkeys(part for part in parts if isinstance(part, Replay)))
        whole = parts[0] if len(parts) == 1 else term.draw
        leaves = [Shown(whole, term.view)] if term.view else [Shown(part) for part in parts]
        leaves = [self._known.setdefault(leaf, leaf) for leaf in leaves]
        return leaves[0] if len(leaves) == 1 else Shown(term.draw)

    def _whole(self, step: Step) -> Shown | None:
        everything = tuple(one.draw for one in (STREAM, *self.shown))
        candidates = (self.criterion, *(one for _, one in self.terms))
        unions = (one for one in candidates if one.view is None and one.draw.parts(step) == everything)
        return next(unions, None) if len(everything) > 1 else None
