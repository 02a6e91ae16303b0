"""What an objective refuses when it is made, and with which words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ckd.anchors import Anchor, StepLimit
from ckd.errors import ConfigError
from ckd.memory import Memory
from ckd.objective.draws import Replay
from ckd.objective.groups import all_classes
from ckd.objective.targets import labels
from ckd.objective.term import Term
from ckd.part import EvaluationModel, Part
from ckd.teachers import Teacher


class Check:
    """Checks with the name of the objective in every message.

    Raises:
        ConfigError: from each of them, with what was expected, what was received and the likely fix.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def online(self, memory: Memory | None) -> None:
        """A memory in an online stream, whose experiences are never at hand as a whole."""
        if memory is not None and memory.needs_whole_experience:
            raise ConfigError(
                f"objective {self.name!r}, memory",
                expected="experiences whose data is at hand as a whole",
                received="an online stream",
                fix="Use a recipe that remembers as it goes, such as er-ace, der++ or mean-er.",
            )

    def parts(
        self,
        teachers: Mapping[str, Any],
        anchor: Anchor | None,
        limit: Any,
        evaluation: Iterable[Any],
        batch_size: int | None,
    ) -> None:
        """Teachers, the anchor, the step limit, evaluation models and the memory batch size."""
        for name, teacher in teachers.items():
            if not isinstance(teacher, Teacher):
                fix = "Use Fixed(network), Snapshot() or Ema()."
                self.refuse(f"teacher {name!r}", "a Teacher", repr(teacher), fix)
        if anchor is not None and anchor.curvature.nbytes():
            self.refuse("anchor", "a fresh curvature", "one of an earlier run", "Make a new one for each run.")
        if anchor is not None and anchor.teacher not in teachers.values():
            fix = "Name it, as in teachers={'snapshot': snapshot}."
            self.refuse("teacher of the anchor", "one of the teachers", "another", fix)
        if limit is not None and not isinstance(limit, StepLimit):
            self.refuse("limit", "a StepLimit", repr(limit), "For example limit=StepLimit(2.0).")
        for model in evaluation:
            if not (isinstance(model, Part) and isinstance(model, EvaluationModel)):
                fix = "Derive it from ckd.part.Part and give it evaluation_model(model)."
                self.refuse("evaluation model", "a Part with a method evaluation_model", repr(model), fix)
        if batch_size is not None and batch_size < 1:
            self.refuse("memory batch size", "1 or more", batch_size, "None follows the stream's.")

    def terms(self, terms: Sequence[Any], criterion: Term | None) -> None:
        """Names, losses, and what the criterion may be."""
        for term in terms:
            if not isinstance(term, Term):
                self.refuse("terms", "each a Term", repr(term), "For example Term('replay', replay('a'), loss=kd).")
            if term.loss is None:
                self.refuse(f"term {term.name!r}", "a loss", "none", "Give it one of ckd.losses.")
        names = [term.name for term in terms]
        if len(set(names)) < len(names) or "criterion" in names:
            self.refuse("names of the terms", "different names, none of them 'criterion'", names, "Rename one.")
        if criterion is None:
            return
        plain = criterion.groups is all_classes and criterion.target is labels and criterion.output.is_logits
        if criterion.loss is None and not plain:
            fix = "Give the term a loss; the training loop's criterion knows neither groups nor targets."
            self.refuse("criterion", "a loss", "none, but groups, a target or an output", fix)
        if isinstance(criterion.draw, Replay):
            fix = "Use draw=union(replay('a')), or a term beside the criterion."
            self.refuse("criterion", "the stream", criterion.draw, fix)

    def needs(self, term: Term, memory: Memory | None, teachers: Mapping[str, Teacher]) -> None:
        """What a term needs: a memory of its kind, its teachers, a view that leaves its target true."""
        who = f"term {term.name!r}"
        mixes, labelled = getattr(term.view, "mixes", False), getattr(term.view, "labels", False)
        if mixes and term.target.of_samples and not (labelled and term.target is labels):
            fix = "Use target=teacher(...), or a view that mixes labels too, as Mixup(labels=True)."
            self.refuse(who, "a target that holds for mixed samples", term.target, fix)
        if mixes and term.takes_labels:
            self.refuse(who, "a loss without labels, as mixed samples have several", term.loss, "Use kd.")
        if term.target.stored_logits and not isinstance(term.draw, Replay):
            self.refuse(who, "a draw from memory", term.draw, "Use draw=replay('a').")
        if term.target.stored_logits and memory is not None and not memory.can_keep_logits:
            self.refuse(who, "a memory that keeps logits", memory, "Use Memory(200).")
        if term.draw.uses_memory and memory is None:
            self.refuse(who, "a memory", "none", "Pass memory=Memory(200).")
        kind = term.target.memory_kind
        if memory is not None and not isinstance(memory, kind):
            self.refuse(who, f"a {kind.__name__}", type(memory).__name__, f"Pass memory={kind.__name__}(200).")
        for name in term.target.teachers:
            if name not in teachers:
                known, fix = ", ".join(teachers) or "no teachers", f"Pass teachers={{{name!r}: Snapshot()}}."
                if teachers:
                    fix = f"Write teacher({next(iter(teachers))!r}). {fix[:-1]} for another."
                self.refuse(f"teacher of {who}", known, repr(name), fix)

    def refuse(self, what: str, expected: object, received: Any, fix: str) -> None:
        """Raise."""
        raise ConfigError(f"objective {self.name!r}, {what}", expected=expected, received=received, fix=fix)
