"""The sum of terms, with the memory and the teachers that the terms name."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ckd.anchors import Anchor, StepLimit
from ckd.errors import ConfigError
from ckd.memory import Memory
from ckd.numbers import shown
from ckd.objective.check import Check
from ckd.objective.targets import Target
from ckd.objective.term import Term
from ckd.outputs import HEAD
from ckd.part import EvaluationModel, Part
from ckd.teachers import Ema, Interpolated, Teacher

Evaluation = EvaluationModel | Sequence[EvaluationModel] | Mapping[str, EvaluationModel | Sequence[EvaluationModel]]

DEFAULT = "default"


class Objective:
    """What a learner minimises beside, or instead of, its training loop's criterion; for one run only.

    `objective + term` is a new objective with one more term, and `extend` changes more than that. If a term matches
    stored logits, the memory keeps them.

    Args:
        name: for messages and reports.
        terms: added to the criterion.
        criterion: replaces the training loop's stream/labels term; None leaves it as it is.
        memory: what `replay(...)` and `union(...)` draw from.
        teachers: what `teacher(name)` means, by name.
        anchor: keeps the weights near those of one of the teachers.
        limit: bounds how far one step goes beside the steps before it.
        corrections: parts that change the student when an experience ends (`WeightAligning`), before a snapshot.
        evaluation: what predicts at evaluation in the student's place: an `Ema`, `BiasCorrection`, `NearestMean`;
            several in a list build on each other, as in `[Ema(0.99), NearestMean()]`; a mapping of names to such gives
            several to compare in one run, of which the first is used unless another is named.
        memory_batch_size: samples in a draw from memory; as many as the stream's batch unless given.
        joint_with_batchnorm: whether a network with BatchNorm sees stream and memory in one forward pass (one set
            of batch statistics) or in one each. Networks without BatchNorm always join them: it is the same
            mathematics and faster.
        needs_boundaries: whether a term's weight or groups depend on old classes, of which there are none before a task
            boundary; what the parts need is known without it.

    Raises:
        ConfigError: terms that share a name, or that need a memory, a teacher or a loss that is not there.

    Example:
        >>> from ckd.losses import cross_entropy, kd
        >>> from ckd.objective import Term, replay, teacher
        >>> from ckd.teachers import Snapshot
        >>> er = Objective("er", [Term("labels", replay("a"), loss=cross_entropy)], memory=Memory(200))
        >>> lwf = Term("lwf", replay("a"), target=teacher("past"), loss=kd)
        >>> [term.name for term in er.extend(lwf, teachers={"past": Snapshot()}).terms]
        ['labels', 'lwf']
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
        limit: StepLimit | None = None,
        corrections: Sequence[Part] = (),
        evaluation: Evaluation | None = None,
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
        self.limit = limit
        self.corrections = tuple(corrections)
        self.evaluation = _chains(evaluation)
        self.memory_batch_size = memory_batch_size
        self.joint_with_batchnorm = joint_with_batchnorm
        self.needs_boundaries = needs_boundaries
        self.generator = memory.generator if memory is not None else torch.Generator().manual_seed(0)
        check = Check(name)
        models = [model for chain in self.evaluation.values() for model in chain]
        check.parts(self.teachers, anchor, limit, models, memory_batch_size)
        check.terms(self.terms, criterion)
        for term in self.all_terms:
            check.needs(term, memory, self.teachers)
        if memory is not None and any(term.target.stored_logits and term.weight != 0 for term in self.all_terms):
            memory.keep_logits = True

    @property
    def all_terms(self) -> list[Term]:
        """The terms, and the criterion if it is one."""
        return [*self.terms, *([self.criterion] if self.criterion else [])]

    def __repr__(self) -> str:
        parts = {"terms": [term.name for term in self.terms], "teachers": list(self.teachers)}
        told = "".join(f", {what}: {' + '.join(names)}" for what, names in parts.items() if names)
        remembers = "" if self.memory is None else f", memory of {self.memory.size}"
        return f"<Objective {self.name!r}{told}{remembers}>"

    def __add__(self, term: Term) -> Objective:
        return self.extend(term)

    def extend(self, *terms: Term, name: str | None = None, **changes: Any) -> Objective:
        """A new objective with further terms and the same parts, to be used in this one's place.

        Args:
            terms: behind its own.
            name: of the new objective.
            changes: arguments of `Objective` to add or replace; `teachers` are added to its own.
        """
        own = {
            "criterion": self.criterion,
            "memory": self.memory,
            "anchor": self.anchor,
            "limit": self.limit,
            "corrections": self.corrections,
            "evaluation": self.evaluation,
            "memory_batch_size": self.memory_batch_size,
            "joint_with_batchnorm": self.joint_with_batchnorm,
            "needs_boundaries": self.needs_boundaries,
        }
        teachers = {**self.teachers, **changes.pop("teachers", {})}
        return Objective(name or self.name, (*self.terms, *terms), teachers=teachers, **{**own, **changes})

    def with_average(self, decay: float) -> Objective:
        """The same objective with an average of the weights (`Ema`) in the student's place at evaluation.

        What it evaluates with already (`BiasCorrection`, `NearestMean`) then builds on the average.

        Raises:
            ConfigError: an objective that evaluates with an average of its own.
        """
        if any(isinstance(model, Ema | Interpolated) for chain in self.evaluation.values() for model in chain):
            fix = "Leave --average (with_average) out for it."
            Check(self.name).refuse("evaluation", "no average yet", "one of its own", fix)
        average = Ema(decay)
        chains = self.evaluation or {DEFAULT: ()}
        return self.extend(evaluation={name: (average, *chain) for name, chain in chains.items()})

    @functools.cached_property
    def parts(self) -> dict[str, Part]:
        """What has a life cycle, by name, in the order of its calls: memory first, teachers before the anchor."""
        found: list[tuple[str, object]] = [("memory", self.memory)]
        found += [(f"correction {i}", part) for i, part in enumerate(self.corrections)]
        chains = self.evaluation.items()
        found += [(f"evaluation {name} {i}", part) for name, chain in chains for i, part in enumerate(chain)]
        found += [(f"teacher {name}", part) for name, part in self.teachers.items()]
        found += [("anchor", self.anchor), ("limit", self.limit)]
        found += [(f"{what} of {term.name}", part) for term in self.all_terms for what, part in term.parts.items()]
        parts: dict[str, Part] = {}
        while found:
            name, part = found.pop(0)
            if isinstance(part, Part) and not any(part is known for known in parts.values()):
                parts[name] = part  # under its first name: an Ema may be teacher and evaluation model
                found = [(f"{what} of {name}", member) for what, member in part.members.items()] + found
        return parts

    @functools.cached_property
    def needs_head(self) -> bool:
        """Whether a term or part uses what the head takes in."""
        tapped = any(HEAD in term.output.paths for term in self.all_terms)
        return tapped or any(part.needs_head for part in self.parts.values())

    @functools.cached_property
    def needs_one_label(self) -> list[str]:
        """The parts and targets that can do with one label for each sample only."""
        users: list[Part | Target] = [*self.parts.values(), *(term.target for term in self.all_terms)]
        return [type(one).__name__ for one in users if one.needs_one_label]

    def evaluation_model(self, student: nn.Module, name: str | None = None) -> nn.Module:
        """The network that predicts at evaluation in the place of the student."""
        model = student
        for part in self.chain(name):
            model = part.evaluation_model(model)
        return model

    def chain(self, name: str | None = None) -> tuple[Any, ...]:
        """The evaluation models that build on each other under a name; the first ones unless given.

        Raises:
            ConfigError: a name that is not there.
        """
        if name == "student" or (name is None and not self.evaluation):
            return ()
        if name is not None and name not in self.evaluation:
            known = ", ".join(["student", *self.evaluation])
            Check(self.name).refuse("evaluation", known, repr(name), "Choose one of them.")
        return self.evaluation[next(iter(self.evaluation)) if name is None else name]


def _chains(evaluation: Evaluation | None) -> dict[str, tuple[Any, ...]]:
    if evaluation is None:
        return {}
    named = evaluation if isinstance(evaluation, Mapping) else {DEFAULT: evaluation}
    return {name: tuple(one) if isinstance(one, Sequence) else (one,) for name, one in named.items()}


def check_objective(taker: str, given: Any) -> None:
    """Raise a ConfigError, with what was probably meant, for what is no objective.

    Args:
        taker: what it was given to, such as "SelfDistillation".
        given: what it was given.
    """
    if isinstance(given, Objective):
        return
    if isinstance(given, str):
        fix = f"To take a recipe by its name write {taker}(recipes.get({given!r}).build(memory_size=200))."
    elif callable(given):
        fix = f"Call it: {taker}({getattr(given, '__name__', 'build')}(...))."
    else:
        fix = f"Give it a recipe, such as {taker}(recipes.er(memory_size=200))."
    raise ConfigError(taker, expected="an Objective", received=shown(given), fix=fix)
