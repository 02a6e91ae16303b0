"""The engine: runs an objective beside anybody's training loop. It knows torch and nothing else."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ckd.classes import ClassSet
from ckd.engine.finite import check_weights
from ckd.engine.given import BoundaryWarning, check_label, classes_by_task, mean_cross_entropy, rows_of
from ckd.engine.rehearsal import Prepare
from ckd.engine.stepper import Stepper
from ckd.errors import ConfigError
from ckd.objective.check import Check
from ckd.objective.objective import Objective
from ckd.outputs import call
from ckd.part import Ending, refuse_heads_per_task

Criterion = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class StepLoss:
    """The loss of a step.

    Attributes:
        total: the scalar to call backward on; divide this where gradients of several steps are accumulated.
        logits: the student's logits for the batch, (B, C).
        values: weight and value of the criterion and of each active term, by name.
    """

    total: Tensor
    logits: Tensor
    values: dict[str, tuple[float, Tensor]]

    @property
    def parts(self) -> dict[str, Tensor]:
        """The criterion and each active term, weighted, detached scalars by name; they sum up to `total`."""
        return {name: weight * value.detach() for name, (weight, value) in self.values.items()}

    def item(self) -> float:
        """`total` as a number."""
        return self.total.item()

    def __float__(self) -> float:
        return self.item()

    def backward(self) -> None:
        """`total.backward()`."""
        self.total.backward()  # type: ignore[no-untyped-call]


class Engine(Stepper):
    """Runs an objective: says what a step's loss is, and lets memory, teachers and all other parts follow.

    Args:
        objective: a recipe, such as `recipes.der_plus_plus(memory_size=200)`, or an `Objective` of your own.
        criterion: of the training loop, a mean over the batch, called with what the student returns and the labels;
            cross entropy unless given.
        joint: whether the student sees stream and memory in one forward pass. Unless given, networks without batch
            statistics do, and for the others the objective says.
        unique: on a CPU, show a remembered sample that several draws took once, where that gives the same sum.
        prepare: stored samples and a generator to network inputs, for samples that are stored raw (see `loss`).
        head: path of the linear layer that gives the logits, as in "classifier"; found by itself where it is plain.
        online: whether the stream shows each mini-batch once, so that no experience is at hand as a whole when it ends.

    Raises:
        ConfigError: no objective, one that was used before, or a memory that needs whole experiences in an online
            stream.

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
        criterion: Criterion = mean_cross_entropy,
        joint: bool | None = None,
        unique: bool = True,
        prepare: Prepare | None = None,
        head: str | None = None,
        online: bool = False,
    ) -> None:
        super().__init__(objective, joint=joint, unique=unique, prepare=prepare, head=head)
        self.criterion, self.online = criterion, False
        if online:
            self.go_online()

    # between experiences ---------------------------------------------------------------------------------------

    def go_online(self) -> None:
        """Tell all parts that the stream is online: no experience is at hand as a whole when it ends.

        Raises:
            ConfigError: a memory that needs whole experiences.
        """
        Check(self.objective.name).online(self.objective.memory)
        self.online = True
        for part in self.objective.parts.values():
            part.in_pieces()

    def begin(
        self,
        classes: Iterable[int] | Mapping[int, Iterable[int]],
        *,
        per_task: bool = False,
        active: ClassSet | None = None,
        piece: bool = False,
    ) -> None:
        """An experience begins, or a further piece of one that has not ended.

        Args:
            classes: that it brings, as indices; by task label for models with a head for each.
            per_task: whether the model has a head for each task and takes task labels.
            active: the active units of the head, None where every unit is.
            piece: whether it may be a piece of an experience that has not ended though its classes are others; unless
                that is said, a missing `end` is warned of (`BoundaryWarning`).

        Raises:
            ConfigError: an objective, or a part of it, that another run has begun with.
            DataError: a negative class.
            ModelError: terms over features and a model with a head for each task.
        """
        self.parts.claim()
        brings = classes_by_task(classes)
        if not piece:
            self._warn_of_no_end(brings)
        self.moment.classes.begin(brings, per_task=per_task)
        if any(not term.output.is_logits for term in self.objective.all_terms):
            refuse_heads_per_task("feature distillation", self.moment.classes.seen)
        self._active, self._begun, self._passes = active, True, None

    def _warn_of_no_end(self, brings: Mapping[int, frozenset[int]]) -> None:
        objective, current = self.objective, self.moment.classes.current
        waits = objective.needs_boundaries or any(part.needs_boundaries for part in objective.parts.values())
        if self.updated and waits and not frozenset().union(*brings.values()) & set(current.indices):
            told = "engine.begin was told of other classes, and engine.end was not called since the last step: to it, "
            warnings.warn(f"{told}the experience before goes on", BoundaryWarning, stacklevel=3)

    def end(self, data: Any = None) -> None:
        """Cross a task boundary: memory is rebalanced, heads corrected, teachers taken; classes become old.

        Args:
            data: the experience's own samples, as they are stored, where a part looks at them (anchors, herded
                memory): a pair of tensors (inputs, labels), what iterates over such pairs (a `DataLoader`) or over
                `Rows`, or a function that returns one of these.

        Raises:
            ConfigError: before a step of the experience, without a call of `after_update` in it, or without data that a
                part needs.
            NonFiniteLossError: a weight, or a loss of the last steps, that is NaN or infinite.
        """
        objective, moment, memory, student = self.objective, self.moment, self.objective.memory, self.student
        if student is None or self._begun or not len(moment.classes.current):
            fix = "Call engine.begin(classes), and engine.loss(student, inputs, labels) for each batch."
            raise ConfigError("engine.end", expected="an experience with a step", received="none", fix=fix)
        if not self.updated and self.parts.follows:
            expected, received = "engine.after_update(optimizer) after each optimizer.step()", "none in this experience"
            raise ConfigError("engine.end", expected=expected, received=received, fix="Add it to the training loop.")
        needy = [type(part).__name__ for part in objective.parts.values() if part.needs_data]
        if data is None and needy:
            received, fix = f"none, and {needy[0]} looks at it", "Call engine.end((inputs, labels))."
            fix = fix if not self.online else "Give those of the last mini-batch: engine.end((inputs, labels))."
            raise ConfigError("engine.end", expected="the experience's data", received=received, fix=fix)
        self.record.read()
        check_weights(student, f"after {moment.iteration} steps, at the end of experience {moment.experience + 1}")
        data = list(data) if isinstance(data, Iterator) else data  # several parts may read it
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
        self.parts.end(ending)
        moment.end_experience()
        self._passes, self._ended = None, moment.iteration

    def evaluation_model(self, student: nn.Module, name: str | None = None) -> nn.Module:
        """The network that predicts at evaluation in the place of the student; by `name` where there are several."""
        return self.objective.evaluation_model(student, name)

    def nbytes(self) -> dict[str, int]:
        """Bytes of state held for the method: inputs, labels and logits in memory, teachers and other parts."""
        return self.parts.nbytes()

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
        try:
            criterion = total = step.criterion(self.criterion)
        except IndexError:  # torch's own check of the labels, on the CPU
            check_label(int(step.targets.max()), logits)
            raise
        values = self.values(criterion)
        for weight, value in values.values():
            total = torch.add(total, value, alpha=weight)
        self.watch(total)
        return StepLoss(total, logits, {"criterion": (1.0, criterion), **values})

    # state -----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The state of every part, and the moment: tensors and plain data. Take it between two steps."""
        return {
            "objective": self.objective.name,
            "moment": self.moment.state_dict(),
            "parts": self.parts.state_dict(),
            "generator": self.objective.generator.get_state(),
            "active": None if self._active is None else self._active.state_dict(),
            "begun": self._begun,
            "ended": self._ended,
            "head": self.head,
            "online": self.online,
        }

    def load_state_dict(self, state: Mapping[str, Any], student: nn.Module) -> None:
        """Restore what `state_dict` returned, into an engine with the same objective.

        Args:
            state: what was saved.
            student: the network that goes on training, with its weights as they were then.

        Raises:
            ConfigError: the state of another objective.
        """
        if state["objective"] != self.objective.name:
            fix = "Build the engine with the recipe that the state was saved from."
            expected, received = (repr(name) for name in (self.objective.name, state["objective"]))
            raise ConfigError("state of an engine, objective", expected=expected, received=received, fix=fix)
        self.parts.load_state_dict(state["parts"], student)
        self.moment.load_state_dict(state["moment"])
        self.objective.generator.set_state(state["generator"].cpu())
        self._active = None if state["active"] is None else ClassSet.of_state(state["active"])
        self.head, self._begun, self._ended = state["head"], state["begun"], state["ended"]
        if self.online or state["online"]:
            self.go_online()
        self.parts.claim()
        self._passes = self._step = self._stored = None
        self._student = weakref.ref(student)
