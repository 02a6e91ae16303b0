"""The plugin that carries an objective through an Avalanche training loop."""

from __future__ import annotations

import warnings
import weakref
from contextlib import ExitStack
from typing import Any

import torch
from avalanche.benchmarks import OnlineCLExperience
from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metric_results import MetricValue
from torch import Tensor, nn

from ckd.classes import ClassSet
from ckd.data.preparation import Preparation
from ckd.errors import ConfigError, DataError, ModelError
from ckd.objective import STREAM, Batch, Context, Objective, Question, Step, join
from ckd.part import Update
from ckd.plugins.boundaries import TaskBoundaries, classes_by_task
from ckd.plugins.conflicts import refuse_two
from ckd.plugins.experience_data import rows_of
from ckd.plugins.heads import ask, forget_dead, has_batchnorm, has_head_per_task, live_units
from ckd.plugins.ledger import Ledger
from ckd.plugins.loader import LoaderWarning, TensorLoader
from ckd.plugins.resident_loader import ResidentLoader
from ckd.recipes import self_distillation
from ckd.taps import head_tapped


class SelfDistillation(SupervisedPlugin):  # type: ignore[misc]
    """Adds an objective (terms, memory, teachers) to any supervised Avalanche strategy.

    >>> strategy = Naive(model=model, optimizer=optimizer, criterion=CrossEntropyLoss(),
    ...                  train_mb_size=128, plugins=[SelfDistillation(memory_size=200)])  # doctest: +SKIP

    Args:
        objective: a recipe, such as `recipes.der_plus_plus(memory_size=500)`, or an `Objective` of your own. Unless
            given, `recipes.self_distillation(memory_size=memory_size)`.
        memory_size: samples remembered by the default objective; 200 unless given.
        joint: whether the student sees stream and memory in one forward pass. Unless given, networks without
            BatchNorm do, and for the others the objective says.
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
        if objective is not None and memory_size is not None:
            raise ConfigError(
                "SelfDistillation",
                expected="an objective or a memory size",
                received="both",
                fix="Give the memory size to the recipe.",
            )
        _check_arguments(objective, log_every)
        self.objective = objective or self_distillation(memory_size=200 if memory_size is None else memory_size)
        self.log_every = log_every
        self._joint_wanted = joint
        self._loader = TensorLoader() if resident else None
        self._ledger = Ledger()
        self._boundaries = TaskBoundaries()
        self._iteration = 0
        self._preparation: Preparation | None = None
        self._live: ClassSet | None = None
        self._joint = False
        self._stores_raw = False
        self._warned = False
        self._student: nn.Module | None = None
        self._trains: weakref.ref[nn.Module] | None = None
        self._fresh = True  # no batch of this experience was answered yet
        self._clear()

    def _clear(self) -> None:
        self._step: Step | None = None
        self._tap = ExitStack()
        self._taken: list[Tensor] = []
        self._mbatch: list[Tensor] | None = None
        self._criterion: Any = None
        self._replaced = True

    def __getstate__(self) -> dict[str, Any]:
        transient: dict[str, Any] = dict.fromkeys(("_step", "_mbatch", "_criterion", "_student", "_trains"))
        return {**self.__dict__, **transient, "_tap": ExitStack(), "_taken": []}

    # between experiences ---------------------------------------------------------------------------------------

    def before_training(self, strategy: Any, **kwargs: Any) -> None:
        """Refuse a strategy whose plugins leave no room for this one, and another student than before."""
        self.after_eval(strategy)  # an evaluation that was interrupted left another network in the student's place
        if self._trains is not None and self._trains() is not strategy.model:
            raise ConfigError(
                f"objective {self.objective.name!r}",
                expected="the student that it trained before",
                received="another one",
                fix="Build a new plugin for each run: its memory and teachers belong to one student.",
            )
        self._trains = weakref.ref(strategy.model)
        refuse_two(strategy.plugins, SelfDistillation, "Put all terms into one Objective.")
        if self._loader is not None and not any(isinstance(p, TensorLoader) for p in strategy.plugins):
            self._loader.before_training(strategy)

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Meet the experience's classes and the model's head."""
        model, memory = strategy.model, self.objective.memory
        if isinstance(strategy.experience, OnlineCLExperience) and memory is not None and memory.needs_whole_experience:
            raise ConfigError(
                f"objective {self.objective.name!r}, memory",
                expected="experiences whose data is at hand as a whole",
                received="an online stream",
                fix="Use a recipe that remembers as it goes, such as er-ace, der++ or mean-er.",
            )
        self.objective.begin(model, classes_by_task(strategy.experience), per_task=has_head_per_task(model))
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
        if memory is None or not len(memory):
            self._stores_raw = resident
        if memory is not None and not self._stores_raw and not self._warned:
            self._warned = True
            warnings.warn(
                "the memory stores samples as the data loader serves them: one fixed, augmented, float view",
                LoaderWarning,
                stacklevel=2,
            )
        self._prepare_with(loader.preparation if resident and self._stores_raw else Preparation())

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
        self._clear()
        if self._boundaries.ends_task(strategy.experience):
            assert self._preparation is not None
            self.objective.end(
                strategy.model,
                ask=ask,
                prepare=self._preparation.still,
                data=lambda: rows_of(strategy, self._stores_raw, self.objective.experience),
            )

    # one training step -----------------------------------------------------------------------------------------

    def before_forward(self, strategy: Any, **kwargs: Any) -> None:
        """Draw what the terms need; with a joint forward, append it to the mini-batch."""
        assert self._preparation is not None
        context = Context(self.objective.experience, self._iteration, self.objective.classes, ask, self._preparation)
        self._step = self.objective.step(_batch(strategy), context)
        questions = self._step.questions()
        self._tap.close()  # left open only by a forward pass that failed
        if self._step.needs_features:
            self._taken = self._tap.enter_context(head_tapped(strategy.model))
        if self._joint and questions:
            self._mbatch = strategy.mbatch
            strategy.mbatch = _as_mbatch(join([self._step.stream, *map(self._step.batch, questions)]), strategy.mbatch)

    def after_forward(self, strategy: Any, **kwargs: Any) -> None:
        """Take the student's answers, and give the strategy back its own."""
        step = self._current()
        if self._fresh:
            _check_output(strategy.mb_output, self.objective.classes.seen)
            self._fresh = False
        questions, features = step.questions(), self._features_taken(step)
        if self._mbatch is not None:
            strategy.mbatch, self._mbatch = self._mbatch, None
            sizes = [len(step.batch(q).targets) for q in (STREAM, *questions)]
            answers = strategy.mb_output.split(sizes)
            strategy.mb_output = answers[0]
            split = [None] * len(sizes) if features is None else torch.split(features, sizes)
            for question, answer, feature in zip((STREAM, *questions), answers, split, strict=True):
                step.answer(question, answer, feature)
        else:
            step.answer(STREAM, strategy.mb_output, features)
            for question in questions:
                step.answer(question, self._forward(strategy, step, question), self._features_taken(step))
        self._tap.close()
        if self.objective.criterion is not None:
            self._replace_criterion(strategy, step)

    def _features_taken(self, step: Step) -> Tensor | None:
        """What the head took in at the last forward pass, if a term asks for it."""
        return self._taken[-1] if step.needs_features else None

    def _forward(self, strategy: Any, step: Step, question: Question) -> Tensor:
        """The strategy's own forward pass on another batch."""
        mbatch = strategy.mbatch
        strategy.mbatch = _as_mbatch(step.batch(question), mbatch)
        try:
            answer: Tensor = strategy.forward()
        finally:
            strategy.mbatch = mbatch
        return answer

    def _replace_criterion(self, strategy: Any, step: Step) -> None:
        """Let the objective's criterion stand in for the strategy's, for this one call."""
        own = self._criterion = strategy._criterion
        self._replaced = False

        def criterion(output: Tensor, targets: Tensor) -> Tensor:
            self._restore_criterion(strategy)
            return step.criterion(own)

        strategy._criterion = criterion

    def _restore_criterion(self, strategy: Any) -> None:
        if not self._replaced:
            strategy._criterion, self._criterion = self._criterion, None
            self._replaced = True

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the terms to the loss, and note what each is worth."""
        step = self._current()
        if not self._replaced:
            self._restore_criterion(strategy)
            raise ConfigError(
                f"objective {self.objective.name!r} in {type(strategy).__name__}",
                expected="a strategy that calls its criterion on the mini-batch's output and labels",
                received="one that computes its loss in another way",
                fix="Use a recipe that adds terms and leaves the criterion alone, such as der++.",
            )
        losses = step.losses()
        self._ledger.add({"criterion": strategy.loss, **losses}, self._iteration)
        for loss in losses.values():
            strategy.loss += loss

    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        """Let memory and teachers follow the step."""
        step, loader, stream = self._current(), strategy.dataloader, self._current().stream
        logits = forget_dead(step.student(STREAM).detach(), self._live, stream.tasks)
        raw = loader.raw if self._stores_raw and isinstance(loader, ResidentLoader) else stream.inputs
        assert raw is not None  # a batch was served
        self.objective.after_update(
            Update(strategy.model, raw, stream.targets, stream.tasks, logits, self.objective.experience)
        )
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


def _check_arguments(objective: Any, log_every: Any) -> None:
    """Raise a ConfigError for an objective that is none or was used, and for an odd number of iterations."""
    if objective is not None and not isinstance(objective, Objective):
        raise ConfigError(
            "SelfDistillation",
            expected="an Objective, such as recipes.er(memory_size=200)",
            received=repr(objective),
            fix="For the default recipe write SelfDistillation(memory_size=200).",
        )
    if objective is not None and len(objective.classes.seen):
        raise ConfigError(
            f"objective {objective.name!r}",
            expected="one that was not trained yet",
            received="one that has met classes",
            fix="Build a new objective for each run: its memory and teachers belong to one student.",
        )
    if log_every is not None and (not isinstance(log_every, int) or log_every < 1):
        raise ConfigError("log_every", expected="a whole number from 1", received=log_every, fix="None is each epoch.")


def _batch(strategy: Any) -> Batch:
    """The strategy's mini-batch; with task labels if its benchmark has them."""
    tasks = strategy.mb_task_id if hasattr(strategy.experience, "task_labels") else None
    return Batch(strategy.mb_x, strategy.mb_y, tasks)


def _as_mbatch(batch: Batch, like: list[Tensor]) -> list[Tensor]:
    """A mini-batch for the strategy, with the columns of the one it has."""
    return [batch.inputs, batch.targets, *([] if batch.tasks is None else [*like[2:-1], batch.tasks])]


def _check_output(output: Any, seen: ClassSet) -> None:
    """Raise unless the model answered with logits wide enough for the classes seen.

    Raises:
        ModelError: not a tensor (B, C).
        DataError: a class beyond the head.
    """
    if not isinstance(output, torch.Tensor) or output.dim() != 2:
        shape = f"a tensor of shape {tuple(output.shape)}" if isinstance(output, torch.Tensor) else type(output)
        raise ModelError(
            "output of the model",
            expected="one tensor of logits, (batch, classes)",
            received=shape,
            fix="Wrap the model so that its forward returns the logits alone.",
        )
    highest = max(seen.indices, default=-1)
    if highest >= output.shape[1]:
        raise DataError(
            "labels of the experience",
            expected=f"class indices from 0 to {output.shape[1] - 1}, the width of the head",
            received=f"a label {highest}",
            fix="Widen the head (Avalanche's IncrementalClassifier grows by itself) or renumber the classes.",
        )
