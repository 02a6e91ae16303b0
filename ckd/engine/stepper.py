"""One training step after the other, for whoever owns the loop and shows the student its inputs."""

from __future__ import annotations

import weakref
from contextlib import closing
from typing import Any

import torch
from torch import Tensor, nn

from ckd.classes import ClassSet
from ckd.engine.given import as_stored, check_outputs, rate_of, without_inactive
from ckd.engine.life_cycle import ONE_RUN, LifeCycle
from ckd.engine.loss_record import LossRecord
from ckd.engine.passes import Passes
from ckd.engine.plan import STREAM
from ckd.engine.rehearsal import Prepare
from ckd.engine.same_student import Left, belongs, left_by
from ckd.engine.training_step import TrainingStep
from ckd.errors import ConfigError
from ckd.objective.batch import Batch
from ckd.objective.moment import Moment
from ckd.objective.objective import Objective, check_objective
from ckd.outputs import check_path, find_head
from ckd.part import Update
from ckd.teachers import Teacher


class Stepper:
    """The steps of a run: what to show the student, what the terms make of it, and what follows an update.

    A step is `step`, a forward pass of the student on its `inputs`, `receive`, `values`, the update, `after_update`.
    """

    def __init__(
        self, objective: Objective, *, joint: bool | None, unique: bool, prepare: Prepare | None, head: str | None
    ) -> None:
        check_objective("Engine", objective)
        self.objective, self.moment, self.parts = objective, Moment(), LifeCycle(objective)
        self.joint, self.unique, self.head = joint, unique, head
        self.prepare = prepare or as_stored
        self.record = LossRecord()
        self._active: ClassSet | None = None
        self._begun = False  # no batch of this experience was seen yet
        self._ended = 0  # the iteration at the last task boundary
        self._passes: Passes | None = None
        self._step: TrainingStep | None = None
        self._student: weakref.ref[nn.Module] | None = None
        self._stored: tuple[Tensor, Tensor | None] | None = None
        self._left: Left = {}  # of the student, when this was pickled

    def __getstate__(self) -> dict[str, Any]:
        left = self._left if self.student is None else left_by(self.student)
        return {**self.__dict__, **dict.fromkeys(("_passes", "_step", "_student", "_stored")), "_left": left}

    @property
    def student(self) -> nn.Module | None:
        """The student of the last step; None before it, or once that model is gone."""
        return None if self._student is None else self._student()

    @property
    def stepped(self) -> bool:
        """Whether a step was taken since the experience began; one without is joined with the next."""
        return not self._begun

    @property
    def updated(self) -> bool:
        """Whether an optimiser step was followed since the last task boundary."""
        return self.moment.iteration > self._ended

    def check_student(self, student: nn.Module) -> None:
        """Raise a ConfigError for another student than that of earlier steps.

        One whose very first outputs were refused may be replaced, by the same model in a wrapper for one.
        """
        known, accepted = self.student, self.moment.iteration > 0 or not self._begun
        if self._student is not None and known is not student and accepted:
            expected, received = "the student that it trained before", "another one"
            raise ConfigError(f"objective {self.objective.name!r}", expected=expected, received=received, fix=ONE_RUN)
        if self._student is None and not belongs(student, self._left):
            expected, received = "the student that it was pickled beside", "another one, or other weights"
            fix = "Pickle the model together with it, or load its weights first."
            raise ConfigError(f"objective {self.objective.name!r}", expected=expected, received=received, fix=fix)

    def step(
        self,
        student: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        tasks: Tensor | None = None,
        *,
        raw: Tensor | None = None,
    ) -> TrainingStep:
        """Begin a step for whoever shows the student `step.inputs` without `loss`; `receive` takes what it returns."""
        if self._step is not None:
            self._step.close()  # left open only by a forward pass that failed
        if not labels.is_floating_point():
            labels = labels.long()  # itself, where it is
        stream = Batch(inputs, labels, tasks if self.moment.classes.seen.per_task else None)
        if self._passes is None or self.student is not student:
            self._passes = self._decide(student, stream)
        stored = inputs if raw is None else raw
        self._stored = stored.detach() if stored.requires_grad else stored, tasks
        self._step = TrainingStep(self.objective, self.moment, stream, self._passes, self.prepare)
        self._step.open(student)
        return self._step

    def receive(self, outputs: Any) -> Tensor:
        """Take what the student returned for `step.inputs`; returns the stream's logits (B, C)."""
        assert self._step is not None
        with closing(self._step):
            if self._begun:
                check_outputs(outputs, self.moment.classes.seen, self.objective.needs_one_label)
                self._begun = False
            return self._step.receive(outputs)

    def values(self, criterion: Tensor) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of every active term by name; noted beside the `criterion`'s value for `mean_losses`."""
        assert self._step is not None
        values = self._step.values()
        self.record.add({"criterion": (1.0, criterion), **values}, self.moment.iteration, self.moment.experience)
        return values

    def watch(self, loss: Tensor) -> None:
        """Let the step limit, if the objective has one, bound the gradients of this loss, a scalar."""
        student = self.student
        if self.objective.limit is not None and student is not None:
            self.objective.limit.watch(loss, student)

    def after_update(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Let memory, teachers and the anchor follow the step that the optimiser took.

        Raises:
            ConfigError: no step was begun; or no optimiser, where an anchor needs its learning rate.
        """
        step, student = self._step, self.student
        if step is None or self._stored is None or student is None:
            fix = "Call engine.loss(...) first, once for each optimizer.step()."
            raise ConfigError("engine.after_update", expected="a step before it", received="none", fix=fix)
        if optimizer is None and self.objective.anchor is not None:
            fix = "Call engine.after_update(optimizer)."
            raise ConfigError("engine.after_update", expected="the optimiser", received="none", fix=fix)
        (raw, tasks), stream = self._stored, step.stream
        logits = without_inactive(step.student(STREAM).detach(), self._active, stream.tasks)
        rate = 0.0 if optimizer is None else rate_of(optimizer)
        update = Update(student, raw, stream.targets, tasks, logits, self.moment.experience, self._active is None, rate)
        self.parts.after_update(update)
        self._step = self._stored = None
        self.moment.iteration += 1

    def mean_losses(self) -> dict[str, float]:
        """The mean of the criterion and of each weighted term since the last call, by name."""
        return self.record.means()

    def _decide(self, student: nn.Module, stream: Batch) -> Passes:
        """Which forward passes the steps of this experience take; at its first one the parts see the student."""
        self.check_student(student)
        if not len(self.moment.classes.current):
            fix = "Call engine.begin(classes) before each experience."
            raise ConfigError("engine.loss", expected="an experience that has begun", received="none", fix=fix)
        if self.head is not None:
            check_path(dict(student.named_modules()), self.head)
        self._student = weakref.ref(student)
        if self._begun:
            self.parts.begin(student, self.moment.classes)
        if self.objective.needs_head and self.head is None:
            self.head = find_head(student, stream.inputs[:2], None if stream.tasks is None else stream.tasks[:2])
        for part in self.objective.parts.values():
            if isinstance(part, Teacher) and part.copies_student:
                part.head = self.head
        random, cpu = getattr(self.prepare, "random", self.prepare is not as_stored), stream.inputs.device.type == "cpu"
        passes = Passes.of(student, self.objective, joint=self.joint, unique=self.unique, random=random, cpu=cpu)
        passes.head = self.head
        return passes
