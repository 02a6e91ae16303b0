"""What a term's answers are compared with: labels, stored answers, or a teacher's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ckd.errors import ConfigError
from ckd.memory import Memory, RefreshedMemory, implanted

if TYPE_CHECKING:
    from ckd.objective.plan import Question
    from ckd.objective.step import Step


@dataclass(frozen=True)
class Target(ABC):
    """A function over a step. What it needs is told up front, so that a term without it is not even drawn."""

    @property
    def teachers(self) -> tuple[str, ...]:
        """The teachers that are asked, by name."""
        return ()

    @property
    def waits(self) -> bool:
        """Whether the term is left out until these teachers are ready."""
        return True

    @property
    def stored_logits(self) -> bool:
        """Whether the memory must keep answers."""
        return False

    @property
    def of_samples(self) -> bool:
        """Whether it is a fact about the samples that were drawn, which a mixture of several has not."""
        return self.stored_logits

    @property
    def memory_kind(self) -> type[Memory]:
        """The kind of memory that the objective must have, if it has one."""
        return Memory

    def available(self, step: Step) -> bool:
        """Whether there is anything to compare with at this step."""
        return not self.waits or all(step.objective.teachers[name].ready for name in self.teachers)

    @abstractmethod
    def values(self, step: Step, question: Question) -> tuple[Tensor, Tensor | None]:
        """The target of each row, and the classes for which it is valid.

        Returns:
            (values, valid): labels (B,) or logits (B, C); bool (C,) or (B, C), None where all classes are valid.
        """


@dataclass(frozen=True)
class Labels(Target):
    """The true classes."""

    @property
    def of_samples(self) -> bool:
        """True."""
        return True

    def values(self, step: Step, question: Question) -> tuple[Tensor, None]:
        """Labels (B,)."""
        return step.batch(question).targets, None


@dataclass(frozen=True)
class StoredLogits(Target):
    """The answers that were stored with remembered samples; valid where a unit was live at that time."""

    @property
    def stored_logits(self) -> bool:
        """True."""
        return True

    def available(self, step: Step) -> bool:
        """Once the memory holds answers."""
        return step.objective.memory is not None and step.objective.memory.answered

    def values(self, step: Step, question: Question) -> tuple[Tensor, Tensor | None]:
        """Logits (B, C) and their valid classes (B, C); None where all are known to be."""
        logits, memory = step.batch(question).logits, step.objective.memory
        assert logits is not None  # the objective made the memory keep them
        assert memory is not None
        return logits, None if memory.complete else ~logits.isnan()


@dataclass(frozen=True)
class ImplantedLogits(Target):
    """Stored answers about the classes of their time; about current classes the student's own, bounded.

    Boschini et al. 2022 (X-DER), arXiv:2201.00766: old samples say nothing about classes that came
    later, but these must not exceed their true class; see `ckd.memory.implanted`. The memory is a `RefreshedMemory`.
    """

    gamma: float

    def __post_init__(self) -> None:
        if not isinstance(self.gamma, int | float) or not 0 <= self.gamma <= 1:
            raise ConfigError("implanted logits", expected="γ from 0 to 1", received=repr(self.gamma), fix="Use 0.85.")

    @property
    def stored_logits(self) -> bool:
        """True."""
        return True

    @property
    def memory_kind(self) -> type[Memory]:
        """One that says which classes a sample was asked about."""
        return RefreshedMemory

    def available(self, step: Step) -> bool:
        """Once the memory holds answers."""
        return step.objective.memory is not None and step.objective.memory.answered

    def values(self, step: Step, question: Question) -> tuple[Tensor, Tensor]:
        """Logits (B, C) and where there are any (B, C)."""
        batch, student = step.batch(question), step.student(question).detach()
        assert batch.logits is not None
        stored = torch.full_like(student, torch.nan)
        stored[:, : batch.logits.shape[1]] = batch.logits
        answered = ~stored.isnan()
        now = step.context.classes.current.mask(student.shape[1], batch.tasks, student.device)
        later = (~answered if now is None else now & ~answered) & answered.any(1, keepdim=True)
        return implanted(stored, student, batch.targets, later, self.gamma), answered | later


@dataclass(frozen=True)
class TeacherAnswer(Target):
    """A teacher's logits; valid for the classes that it was taught.

    With `familiar_only` they are not valid for remembered samples of the experience that runs, which a snapshot has
    never met.
    """

    name: str
    familiar_only: bool = False

    @property
    def teachers(self) -> tuple[str, ...]:
        """The teacher's name."""
        return (self.name,)

    def values(self, step: Step, question: Question) -> tuple[Tensor, Tensor | None]:
        """Logits (B, C) and the classes taught, (C,), (B, C) or None for all."""
        logits = step.ask(self.name, question)
        taught = step.objective.teachers[self.name].taught
        batch = step.batch(question)
        valid = taught.mask(logits.shape[1], batch.tasks, logits.device)
        if not self.familiar_only or batch.experiences is None:
            return logits, valid
        familiar = (batch.experiences < step.objective.experience)[:, None].expand_as(logits)
        return logits, familiar if valid is None else familiar & valid


@dataclass(frozen=True)
class BestTeacher(Target):
    """Of several teachers, for each sample the one that finds its label most likely (CLS-ER, arXiv:2201.12604)."""

    names: tuple[str, ...]

    @property
    def teachers(self) -> tuple[str, ...]:
        """Their names."""
        return self.names

    @property
    def of_samples(self) -> bool:
        """True."""
        return True

    def values(self, step: Step, question: Question) -> tuple[Tensor, Tensor | None]:
        """Logits (B, C) of each sample's best teacher, and the classes that the first was taught."""
        answers = torch.stack([step.ask(name, question) for name in self.names])  # (teachers, B, C)
        label = step.batch(question).targets.expand(len(self.names), -1)[..., None]  # (teachers, B, 1)
        likely = answers.log_softmax(-1).gather(-1, label)[..., 0]  # (teachers, B)
        best = likely.argmax(0)[None, :, None].expand(-1, -1, answers.shape[-1])  # (1, B, C)
        return answers.gather(0, best)[0], TeacherAnswer(self.names[0]).values(step, question)[1]


@dataclass(frozen=True)
class OldAnswers(Target):
    """Probabilities, each class on its own: the label's for current classes, a teacher's for the others it was taught.

    The targets of iCaRL (Rebuffi et al. 2017, arXiv:1611.07725, algorithm 3); a class that comes again is current.

    Before the teacher is ready there are only labels, and it is not waited for.
    """

    name: str

    @property
    def teachers(self) -> tuple[str, ...]:
        """The teacher's name."""
        return (self.name,)

    @property
    def waits(self) -> bool:
        """False."""
        return False

    @property
    def of_samples(self) -> bool:
        """True."""
        return True

    def values(self, step: Step, question: Question) -> tuple[Tensor, Tensor | None]:
        """Probabilities (B, C) over the head of the student, valid for the classes seen."""
        batch, student = step.batch(question), step.student(question)
        seen = step.context.classes.seen.mask(student.shape[1], batch.tasks, student.device)
        target = torch.zeros_like(student, requires_grad=False).scatter_(1, batch.targets[:, None], 1.0)
        if step.objective.teachers[self.name].ready:
            old = step.ask(self.name, question).sigmoid()
            taught = TeacherAnswer(self.name).values(step, question)[1]
            width = min(old.shape[1], target.shape[1])
            known = torch.ones_like(target[:, :width], dtype=torch.bool) if taught is None else taught[..., :width]
            now = step.context.classes.current.mask(student.shape[1], batch.tasks, student.device)
            known = known & ~now[..., :width] if now is not None else torch.zeros_like(known)
            target[:, :width] = torch.where(known, old[:, :width], target[:, :width])
        return target, seen


labels = Labels()
stored_logits = StoredLogits()


def best_teacher(*names: str) -> BestTeacher:
    """The answer, for each sample, of the teacher that finds its label most likely."""
    return BestTeacher(names)


def implanted_logits(gamma: float) -> ImplantedLogits:
    """Stored answers, and the student's own about later classes, bounded by γ; see `ImplantedLogits`."""
    return ImplantedLogits(gamma)


def old_answers(name: str) -> OldAnswers:
    """Labels for new classes, the sigmoid answers of the teacher called `name` for old ones."""
    return OldAnswers(name)


def teacher(name: str, *, familiar_only: bool = False) -> TeacherAnswer:
    """The answer of the objective's teacher called `name`; see `TeacherAnswer`."""
    return TeacherAnswer(name, familiar_only)
