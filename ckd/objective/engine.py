"""The engine: runs an objective beside anybody's training loop. It knows torch and nothing else."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ckd.classes import ClassSet
from ckd.errors import ConfigError
from ckd.objective.batch import Batch
from ckd.objective.given import as_stored, check_outputs, classes_by_task, rate_of, rows_of, without_inactive
from ckd.objective.loss_record import LossRecord
from ckd.objective.moment import Moment
from ckd.objective.objective import Objective
from ckd.objective.passes import Passes
from ckd.objective.plan import STREAM
from ckd.objective.rehearsal import Prepare
from ckd.objective.training_step import TrainingStep
from ckd.outputs import call, find_head
from ckd.part import Ending, Update, refuse_heads_per_task

Criterion = Callable[[Tensor, Tensor], Tensor]

ONE_RUN = "Build a new one for each run: its memory and teachers belong to one student."


@dataclass(frozen=True)
class StepLoss:
    """The loss of a step.

    Attributes:
        total: the scalar to call backward on.
        parts: the criterion and each active term, weighted, by name.
        logits: the student's logits for the batch, (B, C).
    """

    total: Tensor
    parts: dict[str, Tensor]
    logits: Tensor

    def backward(self) -> None:
        """`total.backward()`."""
        self.total.backward()  # type: ignore[no-untyped-call]


class Engine:
    """Runs an objective: says what a step's loss is, and lets memory, teachers and all other parts follow.

    Args:
        objective: a recipe, such as `recipes.der_plus_plus(memory_size=200)`, or an `Objective` of your own.
        criterion: of the training loop, a mean over the batch; cross entropy with the labels unless given.
        joint: whether the student sees stream and memory in one forward pass. Unless given, networks without batch
            statistics do, and for the others the objective says.
        unique: on a CPU, show a remembered sample that several draws took once, where that gives the same sum.
        prepare: stored samples and a generator to network inputs, for samples that are stored raw (see `loss`).
        head: path of the linear layer that gives the logits, as in "classifier"; found by itself where it is plain.

    Raises:
        ConfigError: no objective, or one that was used before.

    Example:
        >>> from ckd import recipes
        >>> model = nn.Linear(2, 2)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> engine = Engine(recipes.er(memory_size=10))
        >>> engine.begin(classes=[0, 1])
        >>> for x, y in [(torch.randn(4, 2), torch.tensor([0, 1, 0, 1]))] * 3:
        ...     optimizer.zero_grad()
        ...     engine.loss(model, x, y).backward()
        ...     optimizer.step()
        ...     engine.after_update(optimizer)
        >>> engine.end()
        >>> len(engine.objective.memory)
        10
    """

    def __init__(
        self,
        objective: Objective,
        *,
        criterion: Criterion = F.cross_entropy,
        joint: bool | None = None,
        unique: bool = True,
        prepare: Prepare | None = None,
        head: str | None = None,
    ) -> None:
        given: Any = objective
        if not isinstance(given, Objective):
            fix = "Give it a recipe, such as recipes.er(memory_size=200)."
            raise ConfigError("engine", expected="an Objective", received=repr(objective), fix=fix)
        if objective.used:
            expected, received = "a new one", "one that was trained"
            raise ConfigError(f"objective {objective.name!r}", expected=expected, received=received, fix=ONE_RUN)
        self.objective, self.criterion = objective, criterion
        self.joint, self.unique, self.head = joint, unique, head
        self.moment = Moment()
        self.prepare = prepare or as_stored
        self._record = LossRecord()
        self._active: ClassSet | None = None
        self._begun = False  # this experience has parts that have not seen the student
        self._passes: Passes | None = None
        self._step: TrainingStep | None = None
        self._student: weakref.ref[nn.Module] | None = None
        self._stored: tuple[Tensor, Tensor | None] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, **dict.fromkeys(("_passes", "_step", "_student", "_stored"))}

    @property
    def student(self) -> nn.Module | None:
        """The student of the last step, while somebody holds it."""
        return None if self._student is None else self._student()

    def check_student(self, student: nn.Module) -> None:
        """Raise a ConfigError for another student than that of earlier steps."""
        if self.student is not None and self.student is not student:
            expected, received = "the student that it trained before", "another one"
            raise ConfigError(f"objective {self.objective.name!r}", expected=expected, received=received, fix=ONE_RUN)

    # between experiences ---------------------------------------------------------------------------------------

    def begin(
        self,
        classes: Iterable[int] | Mapping[int, Iterable[int]],
        *,
        per_task: bool = False,
        active: ClassSet | None = None,
    ) -> None:
        """An experience begins, or a further piece of one that has not ended.

        Args:
            classes: that it brings, as indices; by task label for models with a head for each.
            per_task: whether the model has a head for each task and takes task labels.
            active: the active units of the head, None where every unit is.

        Raises:
            DataError: a negative class.
            ModelError: terms over features and a model with a head for each task.
        """
        self.objective.used = True
        self.moment.classes.begin(classes_by_task(classes), per_task=per_task)
        if any(not term.output.is_logits for term in self.objective.all_terms):
            refuse_heads_per_task("feature distillation", self.moment.classes.seen)
        self._active, self._begun, self._passes = active, True, None

    def end(self, data: Any = None) -> None:
        """Cross a task boundary: memory is rebalanced, heads corrected, teachers taken; classes become old.

        Args:
            data: the experience's own samples, as they are stored, where a part looks at them (anchors, herded
                memory): a pair of tensors (inputs, labels), what iterates over such pairs (a `DataLoader`), or a
                function that returns an iterator of `Rows`.

        Raises:
            ConfigError: before the first step, or without data that a part needs.
        """
        objective, moment, memory, student = self.objective, self.moment, self.objective.memory, self.student
        if student is None:
            fix = "Call engine.loss(student, inputs, labels) in the experience."
            raise ConfigError("engine.end", expected="at least one step before it", received="none", fix=fix)
        needy = [type(part).__name__ for part in objective.parts.values() if part.needs_data]
        if data is None and needy:
            received, fix = f"none, and {needy[0]} looks at it", "Call engine.end((inputs, labels))."
            raise ConfigError("engine.end", expected="the experience's data", received=received, fix=fix)
        prepare = getattr(self.prepare, "deterministic", self.prepare)
        ending = Ending(
            student,
            moment.classes,
            moment.experience,
            data=lambda: rows_of(data, moment.experience),
            stored=lambda: memory.rows if memory is not None and len(memory) else None,
            held_out=lambda: memory.held_out() if memory is not None else None,
            active=self._active,
            prepare=lambda raw: prepare(raw, objective.generator),
            evaluation_model=lambda: self.evaluation_model(student),
            head=self.head,
        )
        for part in objective.parts.values():
            base = objective.base_of(part, student)
            part.end(ending if base is student else replace(ending, model=base))
        moment.end_experience()

    def evaluation_model(self, student: nn.Module, name: str | None = None) -> nn.Module:
        """The network that predicts at evaluation in the place of the student; by `name` where there are several."""
        return self.objective.evaluation_model(student, name)

    def nbytes(self) -> dict[str, int]:
        """Bytes of state held for the method: inputs, labels and logits in memory, teachers, and what other parts say."""
        total = {"inputs": 0, "labels": 0, "logits": 0, "teachers": 0}
        for part in self.objective.parts.values():
            for what, size in part.nbytes().items():
                total[what] = total.get(what, 0) + size
        return total

    # one training step -----------------------------------------------------------------------------------------

    def loss(
        self,
        student: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        tasks: Tensor | None = None,
        *,
        raw: Tensor | None = None,
    ) -> StepLoss:
        """The loss of a step, with every term of the objective in it. Call `backward` on it.

        Args:
            student: the network that trains.
            inputs: network inputs (B, ...).
            labels: (B,), or (B, T) and (B, H, W) for logits (B, T, C) and (B, C, H, W).
            tasks: task labels (B,), where there are any.
            raw: the samples as the memory should store them (B, ...), such as uint8 images before augmentation; the
                engine's `prepare` makes them network inputs when they are drawn. `inputs` unless given.

        Raises:
            ConfigError: before `begin`, or with another student than before.
            ModelError: a model that does not return logits.
            DataError: a label beyond the head.
            NonFiniteLossError: a loss that became NaN or infinite.
        """
        step = self.step(student, inputs, labels, tasks, raw=raw)
        try:
            outputs = call(student, step.inputs, step.tasks)
        except BaseException:
            step.close()
            raise
        logits = self.receive(outputs)
        total = step.criterion(self.criterion)
        values = self.values(total)
        parts = {"criterion": total.detach()}
        for name, (weight, value) in values.items():
            total = torch.add(total, value, alpha=weight)
            parts[name] = weight * value.detach()
        return StepLoss(total, parts, logits)

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
        stream = Batch(inputs, labels, tasks if self.moment.classes.seen.per_task else None)
        if self._passes is None or self.student is not student:
            self._passes = self._decide(student, stream)
        self._stored = inputs if raw is None else raw, tasks
        self._step = TrainingStep(self.objective, self.moment, stream, self._passes, self.prepare)
        self._step.open(student)
        return self._step

    def receive(self, outputs: Any) -> Tensor:
        """Take what the student returned for `step.inputs`; returns the stream's logits (B, C)."""
        assert self._step is not None
        if self._begun:
            check_outputs(outputs, self.moment.classes.seen)
            self._begun = False
        return self._step.receive(outputs)

    def _decide(self, student: nn.Module, stream: Batch) -> Passes:
        """Which forward passes the steps of this experience take; at its first one the parts see the student."""
        self.check_student(student)
        if not len(self.moment.classes.seen):
            fix = "Call engine.begin(classes) before each experience."
            raise ConfigError("engine.loss", expected="an experience that has begun", received="none", fix=fix)
        self._student = weakref.ref(student)
        if self._begun:
            for part in self.objective.parts.values():
                part.begin(student, self.moment.classes)
        if self.objective.needs_head and self.head is None:
            self.head = find_head(student, stream.inputs[:2], None if stream.tasks is None else stream.tasks[:2])
        random, cpu = getattr(self.prepare, "random", self.prepare is not as_stored), stream.inputs.device.type == "cpu"
        passes = Passes.of(student, self.objective, joint=self.joint, unique=self.unique, random=random, cpu=cpu)
        passes.head = self.head
        return passes

    def values(self, criterion: Tensor) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of every active term by name; noted beside the `criterion`'s value for `mean_losses`."""
        assert self._step is not None
        values = self._step.values()
        self._record.add({"criterion": (1.0, criterion), **values}, self.moment.iteration)
        return values

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
        for part in self.objective.followers:
            part.after_update(update)
        self._step = self._stored = None
        self.moment.iteration += 1

    def mean_losses(self) -> dict[str, float]:
        """The mean of the criterion and of each weighted term since the last call, by name."""
        return self._record.means()

    # state -----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The state of every part, and the moment: tensors and plain data. Take it between two steps."""
        parts = {name: part.state_dict() for name, part in self.objective.parts.items()}
        generator = self.objective.generator.get_state()
        begun = {"begun": self._begun, "active": None if self._active is None else self._active.state_dict()}
        return {**begun, "moment": self.moment.state_dict(), "generator": generator, "head": self.head, "parts": parts}

    def load_state_dict(self, state: Mapping[str, Any], student: nn.Module) -> None:
        """Restore what `state_dict` returned, into an engine with the same objective.

        Raises:
            ConfigError: the state of another objective.
        """
        parts = self.objective.parts
        if set(parts) != set(state["parts"]):
            expected, received = ", ".join(parts) or "no parts", ", ".join(state["parts"]) or "no parts"
            fix = "Build the engine with the recipe that the state was saved from."
            raise ConfigError("state of an engine", expected=expected, received=received, fix=fix)
        for name, part in parts.items():
            part.load_state_dict(state["parts"][name], student)
        self.moment.load_state_dict(state["moment"])
        self.objective.generator.set_state(state["generator"])
        self.head, self._begun, self.objective.used = state["head"], state["begun"], True
        self._active = None if state["active"] is None else ClassSet.of_state(state["active"])
        self._passes = self._step = self._stored = None
