"""The plugin that carries an objective through an Avalanche training loop."""

from __future__ import annotations

import warnings
import weakref
from typing import Any

from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metric_results import MetricValue
from torch import nn

from ckd.classes import ClassSet
from ckd.data.preparation import Preparation
from ckd.errors import ConfigError, DataError
from ckd.objective import STREAM, Context, Objective, Step
from ckd.part import Update
from ckd.plugins.boundaries import TaskBoundaries, classes_by_task
from ckd.plugins.checks import ONE_RUN, check_arguments, check_experience, check_output, warn_of_boundaries
from ckd.plugins.conflicts import refuse_two
from ckd.plugins.experience_data import rows_of
from ckd.plugins.heads import (
    answers_each_alone,
    ask,
    forget_dead,
    has_batchnorm,
    has_head_per_task,
    is_compiled,
    live_units,
)
from ckd.plugins.ledger import Ledger
from ckd.plugins.loader import LoaderWarning, TensorLoader
from ckd.plugins.resident_loader import ResidentLoader
from ckd.plugins.stand_in import StandIn
from ckd.plugins.student import Student, rate_of, stream_of
from ckd.recipes import self_distillation


class SelfDistillation(SupervisedPlugin):  # type: ignore[misc]
    """Adds an objective (terms, memory, teachers) to any supervised Avalanche strategy.

    >>> strategy = Naive(model=model, optimizer=optimizer, criterion=CrossEntropyLoss(),
    ...                  train_mb_size=128, plugins=[SelfDistillation(memory_size=200)])  # doctest: +SKIP

    Args:
        objective: a recipe, such as `recipes.der_plus_plus(memory_size=500)`, or an `Objective` of your own. Unless
            given, `recipes.self_distillation(memory_size=memory_size)`.
        memory_size: samples remembered by the default objective; 200 unless given.
        joint: whether the student sees stream and memory in one forward pass. Unless given, networks without
            BatchNorm do, and for the others the objective says. On a CPU a remembered sample that several draws took
            is then asked about once, unless the network has random layers, augmentation is drawn for each or a view
            changes it: the same sums, to rounding.
        resident: serve mini-batches from tensors where the data can be read so (see `TensorLoader`). Without it, or
            where it cannot, the memory holds samples as they arrive: one fixed, augmented, float view of each.
        log_every: publish the mean of each named loss every so many iterations; at the end of each epoch unless
            given.

    A plugin belongs to one run: its memory and teachers are its student's. Pickled between experiences, together with
    the model, it goes on in another process. In an online stream an experience ends with the last sub-experience of a
    task, and only if the stream gives access to its task boundaries; otherwise no snapshot is ever taken.

    Raises:
        ConfigError: both an objective and a memory size, an objective that is none, or one that was trained before.
    """

    def __init__(
        self,
        objective: Objective | None = None,
        *,
        memory_size: int | None = None,
        joint: bool | None = None,
        resident: bool = True,
        log_every: int | None = None,
    ) -> None:
        super().__init__()
        check_arguments(objective, memory_size, log_every)
        self.objective = objective or self_distillation(memory_size=200 if memory_size is None else memory_size)
        self.log_every = log_every
        self._joint_wanted = joint
        self._loader = TensorLoader() if resident else None
        self._ledger = Ledger()
        self._boundaries = TaskBoundaries()
        self._asking = Student()
        self._stand_in = StandIn()
        self._iteration = 0
        self._preparation: Preparation | None = None
        self._live: ClassSet | None = None
        self._joint = self._merge = False
        self._stores_raw = False
        self._warned = False
        self._student: nn.Module | None = None
        self._trains: weakref.ref[nn.Module] | None = None
        self._tells_tasks = False
        self._by_task = False
        self._fresh = True  # no batch of this experience was answered yet
        self._step: Step | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, **dict.fromkeys(("_step", "_student", "_trains"))}

    # between experiences ---------------------------------------------------------------------------------------

    def before_training(self, strategy: Any, **kwargs: Any) -> None:
        """Refuse a strategy whose plugins leave no room for this one, and another student than before."""
        self.after_eval(strategy)  # an evaluation that was interrupted left another network in the student's place
        if self._trains is not None and self._trains() is not strategy.model:
            raise ConfigError(
                f"objective {self.objective.name!r}",
                expected="the student that it trained before",
                received="another one",
                fix=ONE_RUN,
            )
        self._trains = weakref.ref(strategy.model)
        refuse_two(strategy.plugins, SelfDistillation, "Put all terms into one Objective.")
        if self._loader is not None and not any(isinstance(p, TensorLoader) for p in strategy.plugins):
            self._loader.before_training(strategy)

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Meet the experience's classes and the model's head."""
        model = strategy.model
        check_experience(self.objective, strategy.experience)
        if not self._iteration:
            warn_of_boundaries(self.objective, strategy.experience)
        per_task = has_head_per_task(model)
        self.objective.begin(model, classes_by_task(strategy.experience), per_task=per_task)
        self._tells_tasks = hasattr(strategy.experience, "task_labels")
        self._by_task = per_task and self._tells_tasks
        self._live = live_units(model)
        self._fresh = True
        self._joint = not has_batchnorm(model) or self.objective.joint_with_batchnorm
        if self._joint_wanted is not None:
            self._joint = self._joint_wanted

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Serve the mini-batches from tensors, once every plugin has set its loader."""
        if self._loader is not None:
            self._loader.before_training_epoch(strategy)
        memory, loader = self.objective.memory, strategy.dataloader
        resident = isinstance(loader, ResidentLoader)
        if resident and self._joint:
            loader.leave_room(self.objective.memory_draws, self.objective.memory_batch_size)
        if memory is None or not len(memory):
            self._stores_raw = resident
        if memory is not None and not self._stores_raw and not self._warned:
            self._warned = True
            warnings.warn(
                "the memory stores samples as the data loader serves them: one fixed, augmented, float view",
                LoaderWarning,
                stacklevel=2,
            )
        preparation = loader.preparation if resident and self._stores_raw else Preparation()
        self._prepare_with(preparation)
        pays = strategy.device.type == "cpu" and not is_compiled(strategy.model)  # elsewhere changing sizes cost more
        self._merge = self._joint and pays and answers_each_alone(strategy.model) and not preparation.random

    def before_eval(self, strategy: Any, **kwargs: Any) -> None:
        """Let another network answer in the student's place, if the objective says so."""
        self.after_eval(strategy)
        answering = self.objective.answering(strategy.model)
        if answering is not strategy.model:
            self._student, strategy.model = strategy.model, answering

    def after_eval(self, strategy: Any, **kwargs: Any) -> None:
        """Give the strategy its student back."""
        if self._student is not None:
            strategy.model, self._student = self._student, None

    def before_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Serve the evaluation's mini-batches from tensors too."""
        if self._loader is not None:
            self._loader.before_eval_exp(strategy)

    def _prepare_with(self, preparation: Preparation) -> None:
        memory = self.objective.memory
        if memory is not None and len(memory) and preparation != self._preparation:
            raise DataError(
                "transforms of the experience",
                expected=f"{self._preparation}, as for the samples in memory",
                received=preparation,
                fix="Give every experience the same transforms, or SelfDistillation(resident=False).",
            )
        self._preparation = preparation

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Cross the task boundary, if there is one here."""
        self._step = None
        if self._boundaries.ends_task(strategy.experience):
            assert self._preparation is not None
            self.objective.end(
                strategy.model,
                ask=ask,
                prepare=self._preparation.still,
                data=lambda: rows_of(strategy, self._stores_raw, self.objective.experience),
                live=self._live,
            )

    # one training step -----------------------------------------------------------------------------------------

    def before_forward(self, strategy: Any, **kwargs: Any) -> None:
        """Draw what the terms need; with a joint forward, append it to the mini-batch."""
        assert self._preparation is not None
        objective, prepare, merge = self.objective, self._preparation, self._merge
        context = Context(objective.experience, self._iteration, objective.classes, ask, prepare, merge)
        self._step = self.objective.step(stream_of(strategy, by_task=self._by_task), context)
        self._stand_in.step_back(strategy)  # if the last step failed half-way
        self._asking.prepare(strategy, self._step, joint=self._joint)

    def after_forward(self, strategy: Any, **kwargs: Any) -> None:
        """Take the student's answers, and give the strategy back its own."""
        step = self._current()
        if self._fresh:
            check_output(strategy.mb_output, self.objective.classes.seen)
            self._fresh = False
        self._asking.collect(strategy, step)
        if self.objective.criterion is not None:
            self._stand_in.take_place(strategy, step)

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the terms to the loss, and note what each is worth."""
        step = self._current()
        self._stand_in.check_called(strategy, self.objective.name)
        values = step.values()
        self._ledger.add({"criterion": (1.0, strategy.loss), **values}, self._iteration)
        for weight, value in values.values():
            strategy.loss.add_(value, alpha=weight)

    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        """Let memory and teachers follow the step."""
        step, loader, stream = self._current(), strategy.dataloader, self._current().stream
        logits = forget_dead(step.student(STREAM).detach(), self._live, stream.tasks)
        raw = loader.raw if self._stores_raw and isinstance(loader, ResidentLoader) else stream.inputs
        assert raw is not None  # a batch was served
        rate, complete = rate_of(strategy.optimizer), self._live is None
        columns = (raw, stream.targets, strategy.mb_task_id if self._tells_tasks else None, logits)
        self.objective.after_update(Update(strategy.model, *columns, self.objective.experience, complete, rate))
        self._step = None
        self._iteration += 1
        if self.log_every is not None and self._iteration % self.log_every == 0:
            self._publish(strategy)

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Publish the named losses."""
        self._publish(strategy)

    def _current(self) -> Step:
        assert self._step is not None, "no step was begun: the strategy skipped before_forward"
        return self._step

    def _publish(self, strategy: Any) -> None:
        """Send the mean of every named loss to the strategy's loggers."""
        publish = getattr(strategy.evaluator, "publish_metric_value", None)
        for name, mean in self._ledger.close().items():
            if publish is not None:
                label = f"CKD_Loss/train_phase/train_stream/{name}"
                publish(MetricValue(self, label, mean, strategy.clock.train_iterations))
