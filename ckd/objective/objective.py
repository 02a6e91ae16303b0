"""The sum of terms, with the memory and the teachers that the terms speak of."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ckd.anchors import Anchor
from ckd.answers import Answer
from ckd.answers.answer import refuse_heads_per_task
from ckd.classes import Classes, ClassSet
from ckd.errors import ConfigError
from ckd.memory import Memory
from ckd.objective.batch import Batch
from ckd.objective.context import Context
from ckd.objective.draws import FromMemory
from ckd.objective.feature_term import FeatureTerm
from ckd.objective.groups import all_classes
from ckd.objective.plan import Plan
from ckd.objective.step import Step
from ckd.objective.targets import labels
from ckd.objective.term import Term
from ckd.part import Ask, Ending, Part, Update, plainly
from ckd.rows import Rows
from ckd.teachers import Teacher


class Objective:
    """What a learner minimises beside, or instead of, its strategy's criterion; for one run only.

    If a term matches stored logits, the memory is told to keep them.

    Args:
        name: for messages and reports.
        terms: added to the criterion.
        criterion: replaces the strategy's stream/labels term; None leaves it as it is.
        memory: what `memory(...)` and `union(...)` draw from.
        teachers: what `teacher(name)` asks, by name.
        anchor: keeps the weights near those of one of the teachers.
        corrections: parts that change the student when an experience ends (`WeightAligning`), before a snapshot.
        answers: what answers at evaluation in the student's place (an `Ema`, `BiasCorrection`, `NearestMean`); the
            student unless given.
        memory_batch_size: samples in a draw from memory; as many as the stream's batch unless given.
        joint_with_batchnorm: whether a network with BatchNorm sees stream and memory in one forward pass (one set
            of batch statistics) or in one each. Networks without BatchNorm always join them: it is the same
            mathematics and faster.
        needs_boundaries: whether a term's weight or groups speak of old classes, of which there are none before a task
            boundary; what the parts need is known without it.

    Raises:
        ConfigError: terms that share a name, or that need a memory, a teacher or a loss that is not there.
    """

    def __init__(
        self,
        name: str,
        terms: Sequence[Term] = (),
        *,
        criterion: Term | None = None,
        memory: Memory | None = None,
        teachers: Mapping[str, Teacher] | None = None,
        anchor: Anchor | None = None,
        corrections: Sequence[Part] = (),
        answers: Answer | None = None,
        memory_batch_size: int | None = None,
        joint_with_batchnorm: bool = False,
        needs_boundaries: bool = False,
    ) -> None:
        self.name = name
        self.terms = tuple(terms)
        self.criterion = criterion
        self.memory = memory
        self.teachers = dict(teachers or {})
        self.anchor = anchor
        self.corrections = tuple(corrections)
        self.answers = answers
        self.memory_batch_size = memory_batch_size
        self.joint_with_batchnorm = joint_with_batchnorm
        self.needs_boundaries = needs_boundaries
        self.classes = Classes()
        self.experience = 0
        self._plans: dict[tuple[bool, ...], Plan] = {}
        self.generator = memory.generator if memory is not None else torch.Generator().manual_seed(0)
        self._check()
        if memory is not None and any(term.target.stored_logits and term.weight != 0 for term in self._all_terms):
            memory.keep_logits = True

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plans": {}}  # hashes of names, which another process has others of

    @property
    def _all_terms(self) -> list[Term]:
        return [*self.terms, *([self.criterion] if self.criterion else [])]

    @functools.cached_property
    def parts(self) -> list[Part]:
        """What has a life cycle, as experiences end: memory first, teachers before the anchor that needs one."""
        of_terms = [part for term in self.terms for part in term.parts]
        teachers = self.teachers.values()
        found: list[object] = [self.memory, *self.corrections, self.answers, *teachers, self.anchor, *of_terms]
        return list(dict.fromkeys(part for part in found if isinstance(part, Part)))  # an Ema may be two of them

    @functools.cached_property
    def _followers(self) -> list[Part]:
        """The parts that follow an optimiser step."""
        following = [part for part in self.parts if type(part).after_update is not Part.after_update]
        return sorted(following, key=lambda part: part is not self.anchor)

    @functools.cached_property
    def memory_draws(self) -> int:
        """How many draws from memory a step takes at most."""
        draws = [getattr(term.draw, "memory", term.draw) for term in self._all_terms if term.draw.uses_memory]
        return len(set(draws))

    def begin(self, model: nn.Module, by_task: dict[int, frozenset[int]], *, per_task: bool) -> None:
        """Meet the classes of an experience, by task label; `per_task` for models with a head for each."""
        self.classes.meet(by_task, per_task=per_task)
        self._plans.clear()
        if any(isinstance(term, FeatureTerm) for term in self.terms):
            refuse_heads_per_task("feature distillation", self.classes.seen)
        for part in self.parts:
            part.begin(model, self.classes.seen)

    def answered_by(self, answers: Answer) -> Objective:
        """This objective, before it is trained, with `answers` in the student's place at evaluation.

        Raises:
            ConfigError: an objective whose method has an answer of its own.
        """
        if self.answers is not None:
            own, fix = f"those of its own {type(self.answers).__name__}", "Leave out --average (answered_by) for it."
            self._refuse("answers", "the student's, to put an average in their place", own, fix)
        self.answers = answers
        for found_before in ("parts", "_followers"):
            self.__dict__.pop(found_before, None)
        return self

    def answering(self, model: nn.Module) -> nn.Module:
        """The network that answers at evaluation in the place of the student `model`."""
        return model if self.answers is None else self.answers.answering(model)

    def step(self, stream: Batch, context: Context) -> Step:
        """Begin a training step on the stream's batch."""
        return Step(self, stream, context)

    def plan(self, active: Sequence[bool], step: Step) -> Plan:
        """What `step` draws and asks if of all terms these are active; the same for the steps of one experience."""
        key = (step.has_memory, *active)
        if key not in self._plans:
            terms = [term for term, is_active in zip(self.terms, active, strict=True) if is_active]
            self._plans[key] = Plan(terms, self.criterion, step)
        return self._plans[key]

    def after_update(self, update: Update) -> None:
        """Let every part follow an optimiser step: the anchor first, as it is what moves the student."""
        for part in self._followers:
            part.after_update(update)

    def end(
        self,
        model: nn.Module,
        *,
        ask: Ask = plainly,
        prepare: Callable[[Tensor], Tensor] = lambda raw: raw,
        data: Callable[[], Iterator[Rows]] = lambda: iter(()),
        live: ClassSet | None = None,
    ) -> None:
        """Cross a task boundary: memory is rebalanced, heads corrected, teachers taken; classes become old.

        Args:
            model: the student.
            ask: how this kind of model is called.
            prepare: raw samples to network inputs, without augmentation.
            data: iterates over the experience's samples.
            live: the units that the head lets speak; None where every unit does.
        """
        ending = Ending(
            model,
            self.classes.seen,
            answering=lambda: self.answering(model),
            remembered=lambda: self.memory.rows if self.memory is not None and len(self.memory) else None,
            held_out=lambda: self.memory.held_out() if self.memory is not None else None,
            data=data,
            live=live,
            ask=ask,
            prepare=prepare,
        )
        for part in self.parts:
            part.end(ending)
        self.classes.close()
        self.experience += 1

    def nbytes(self) -> dict[str, int]:
        """Bytes of state held for the method: inputs, labels and logits in memory, teachers, answers."""
        total = {"inputs": 0, "labels": 0, "logits": 0, "teachers": 0}
        for part in self.parts:
            for what, size in part.nbytes().items():
                total[what] = total.get(what, 0) + size
        return total

    def _check(self) -> None:
        strangers = [name for name, teacher in self.teachers.items() if not isinstance(teacher, Teacher)]
        if strangers:
            self._refuse("teachers", "each a Teacher", f"{strangers[0]!r}, which is none", "Use Snapshot() or Ema().")
        if self.anchor is not None and self.anchor.curvature.nbytes():
            self._refuse("anchor", "a fresh curvature", "one of an earlier run", "Make a new one for each run.")
        if self.anchor is not None and self.anchor.teacher not in self.teachers.values():
            fix = "Name it, as in teachers={'snapshot': snapshot}."
            self._refuse("teacher of the anchor", "one of the teachers", "another", fix)
        names = [term.name for term in self.terms]
        if len(set(names)) < len(names) or "criterion" in names:
            self._refuse("names of the terms", "different names, none of them 'criterion'", names, "Rename one.")
        if self.memory_batch_size is not None and self.memory_batch_size < 1:
            self._refuse("memory batch size", "1 or more", self.memory_batch_size, "None follows the stream's.")
        for term in self.terms:
            if term.loss is None and not isinstance(term, FeatureTerm):
                self._refuse(f"term {term.name!r}", "a loss", "none", "Give it one of ckd.losses, per sample.")
        own = self.criterion
        if own is not None and own.loss is None and (own.groups is not all_classes or own.target is not labels):
            fix = "Give the term a loss; the strategy's criterion knows neither groups nor targets."
            self._refuse("criterion", "a loss", "none, but groups or a target", fix)
        if own is not None and isinstance(own.draw, FromMemory):
            fix = "Use draw=union(memory('a')), or a term beside the criterion."
            self._refuse("criterion", "the stream", own.draw, fix)
        for term in self._all_terms:
            if getattr(term.view, "mixes", False) and term.target.of_samples:
                fix = "Use target=teacher(...), which can be asked about anything."
                self._refuse(f"term {term.name!r}", "a teacher's answers to mixed samples", term.target, fix)
            if term.target.stored_logits and not isinstance(term.draw, FromMemory):
                self._refuse(f"term {term.name!r}", "a draw from memory", term.draw, "Use draw=memory('a').")
            if term.target.stored_logits and self.memory is not None and not self.memory.can_keep_logits:
                self._refuse(f"term {term.name!r}", "a memory that keeps logits", self.memory, "Use Memory(200).")
            if term.draw.uses_memory and self.memory is None:
                self._refuse(f"term {term.name!r}", "a memory", "none", "Pass memory=Memory(200).")
            kind = term.target.memory_kind
            if self.memory is not None and not isinstance(self.memory, kind):
                fix = f"Pass memory={kind.__name__}(200)."
                self._refuse(f"term {term.name!r}", f"a {kind.__name__}", type(self.memory).__name__, fix)
            for name in term.target.teachers:
                if name not in self.teachers:
                    known, fix = ", ".join(self.teachers) or "no teachers", f"Pass teachers={{{name!r}: Snapshot()}}."
                    self._refuse(f"teacher of term {term.name!r}", known, repr(name), fix)

    def _refuse(self, what: str, expected: object, received: Any, fix: str) -> None:
        raise ConfigError(f"objective {self.name!r}, {what}", expected=expected, received=received, fix=fix)
