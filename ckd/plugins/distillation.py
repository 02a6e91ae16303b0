"""The plugin that maps the hooks of an Avalanche training loop to the calls of the engine."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from avalanche.benchmarks import OnlineCLExperience
from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metric_results import MetricValue
from torch import Tensor, nn

from ckd.data.preparation import Preparation
from ckd.data.resident_loader import ResidentLoader
from ckd.engine import Engine
from ckd.engine.training_step import TrainingStep
from ckd.errors import DataError
from ckd.objective import Objective
from ckd.plugins.boundaries import TaskBoundaries, labels_by_task
from ckd.plugins.checks import check_arguments, warn_of_boundaries
from ckd.plugins.conflicts import refuse_two
from ckd.plugins.experience_data import as_rows, of_classes, rows_of
from ckd.plugins.guarded_evaluation import GuardedEvaluation
from ckd.plugins.head_units import active_units, has_head_per_task
from ckd.plugins.loader import LoaderWarning, TensorLoader
from ckd.plugins.refusals import Trained, refuse_another_student, refuse_strategy, refuse_unmet_classes
from ckd.plugins.replaced_criterion import ReplacedCriterion
from ckd.plugins.step_hooks import StepHooks, check_minibatch, check_outputs_of, others_would_see
from ckd.recipes import self_distillation
from ckd.rows import Rows


class SelfDistillation(SupervisedPlugin):  # type: ignore[misc]
    """Adds an objective (terms, memory, teachers) to any supervised Avalanche strategy.

    Args:
        objective: a recipe, such as `recipes.der_plus_plus(memory_size=500)`, or an `Objective` of your own. Unless
            given, `recipes.self_distillation(memory_size=memory_size)`.
        memory_size: samples remembered by the default objective; 200 unless given.
        joint: whether the student sees stream and memory in one forward pass; see `Engine`.
        resident: serve mini-batches from tensors where the data can be read so (see `TensorLoader`). Without it, or
            where it cannot, the memory holds samples as they arrive: one fixed, augmented, float view of each.
        log_every: publish the mean of each named loss every so many iterations; at the end of each epoch unless
            given.
        head: path of the linear layer that gives the logits, as in "classifier"; found by itself where it is plain.
        online: whether the stream shows each mini-batch once though its experiences hold many, so that nothing may look
            at one as a whole when it ends, only at its last mini-batch. Avalanche's own online streams are recognised.

    A plugin belongs to one run: its memory and teachers are its student's. Pickled between experiences, together with
    the model, it goes on in another process. In an online stream an experience ends with the last sub-experience of a
    task, and only if the stream gives access to its task boundaries; otherwise no snapshot is ever taken.

    Raises:
        ConfigError: both an objective and a memory size, an objective that is none, or one that was trained before.

    Example:
        >>> import torch
        >>> from avalanche.training import Naive
        >>> model = torch.nn.Linear(4, 2)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> plugin = SelfDistillation(memory_size=200)
        >>> criterion = torch.nn.CrossEntropyLoss()
        >>> strategy = Naive(model=model, optimizer=optimizer, criterion=criterion, plugins=[plugin])
    """

    def __init__(
        self,
        objective: Objective | None = None,
        *,
        memory_size: int | None = None,
        joint: bool | None = None,
        resident: bool = True,
        log_every: int | None = None,
        head: str | None = None,
        online: bool = False,
    ) -> None:
        super().__init__()
        check_arguments(objective, memory_size, log_every)
        chosen = objective or self_distillation(memory_size=200 if memory_size is None else memory_size)
        self.engine = Engine(chosen, joint=joint, head=head, online=online)
        self._name = chosen.name
        self.log_every, self.online = log_every, online
        self.evaluated: str | None = None
        """Which of several evaluation models predicts, by name; see `evaluating`."""
        self._loader = TensorLoader() if resident else None
        self._boundaries = TaskBoundaries()
        self._criterion = ReplacedCriterion()
        self._hooks = StepHooks()
        self._joint = joint
        self._trained: Trained | None = None
        self._student: nn.Module | None = None
        self._mbatch: list[Tensor] | None = None
        self._stores_raw = False
        self._warned = False
        self._tells_tasks = False
        self._step: TrainingStep | None = None
        self._last: Rows | None = None  # the last mini-batch, in an online stream that must not be looked at as a whole
        self._prepared: str | None = None  # how the samples were prepared, in a run that is taken up

    def state_dict(self) -> dict[str, Any]:
        """The engine's state, and what else the next step depends on; take it between two iterations."""
        return {
            "engine": self.engine.state_dict(),
            "losses": self.engine.record.state_dict(),
            "boundaries": self._boundaries.state_dict(),
            "hooks": self._hooks.state_dict(),
            "loader": None if self._loader is None else self._loader.state_dict(),
            "stores_raw": self._stores_raw,
            "preparation": self.engine.prepare.text if isinstance(self.engine.prepare, Preparation) else None,
            "last": None if self._last is None else dict(self._last.items()),
        }

    def load_state_dict(self, state: Mapping[str, Any], strategy: Any) -> None:
        """Restore what `state_dict` returned, beside the strategy's model with its weights as they were then."""
        self.engine.load_state_dict(state["engine"], strategy.model)
        self.engine.record.load_state_dict(state["losses"])
        self._boundaries.load_state_dict(state["boundaries"])
        self._hooks.load_state_dict(state["hooks"])
        if self._loader is not None:
            self._loader.load_state_dict(state["loader"], strategy)
        self._stores_raw, self._prepared = state["stores_raw"], state["preparation"]
        self._last = None if state["last"] is None else Rows(**state["last"])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, **dict.fromkeys(("_step", "_student", "_mbatch", "_trained"))}

    @property
    def objective(self) -> Objective:
        """What is minimised beside the strategy's criterion."""
        return self.engine.objective

    @contextmanager
    def evaluating(self, name: str) -> Iterator[None]:
        """Within the context, evaluate with the evaluation model called `name`; "student" is the student itself."""
        self.objective.chain(name)
        before, self.evaluated = self.evaluated, name
        try:
            yield
        finally:
            self.evaluated = before

    # between experiences ---------------------------------------------------------------------------------------

    def before_training(self, strategy: Any, **kwargs: Any) -> None:
        """Refuse a strategy whose plugins leave no room for this one, and another student than before."""
        self.after_eval(strategy)  # an evaluation that was interrupted left another network in the student's place
        refuse_strategy(strategy, self.objective)
        refuse_another_student(strategy, self.objective, self._trained)
        self._trained = Trained(strategy)
        GuardedEvaluation.put(strategy, self.after_eval)
        refuse_two(strategy.plugins, SelfDistillation, "Keep one; to combine methods, add a term to one's objective.")
        if self._loader is not None and not any(isinstance(p, TensorLoader) for p in strategy.plugins):
            self._loader.before_training(strategy)

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Meet the experience's classes and the model's head."""
        experience, model = strategy.experience, strategy.model
        refuse_another_student(strategy, self.objective, self._trained)
        if isinstance(experience, OnlineCLExperience):
            self.engine.go_online()
        if not self.engine.moment.iteration:
            warn_of_boundaries(self.objective, experience)
        classes, per_task = labels_by_task(experience), has_head_per_task(model)
        self.engine.begin(classes, per_task=per_task, active=active_units(model), piece=True)
        refuse_unmet_classes(strategy, self.objective, self.engine.moment.classes.seen)
        self._tells_tasks = hasattr(experience, "task_labels")
        self._hooks.start()
        if self._joint is None and others_would_see(strategy, self):
            self.engine.joint = False

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Serve the mini-batches from tensors, once every plugin has set its loader."""
        self._hooks.start()
        if (tensors := self._tensor_loader(strategy)) is not None:
            tensors.before_training_epoch(strategy)
        memory, loader = self.objective.memory, strategy.dataloader
        empty = memory is None or not len(memory)
        if empty:
            self._stores_raw = isinstance(loader, ResidentLoader)
        if memory is not None and not self._stores_raw and not self._warned:
            self._warned = True
            warnings.warn(
                "the memory stores samples as the data loader serves them: one fixed, augmented, float view",
                LoaderWarning,
                stacklevel=2,
            )
        resident = isinstance(loader, ResidentLoader) and self._stores_raw
        preparation = loader.preparation if resident else Preparation()
        other = preparation.text != self._prepared if self._prepared else preparation != self.engine.prepare
        if not empty and other:
            raise DataError(
                "transforms of the experience",
                expected=f"{self._prepared or self.engine.prepare}, as for the samples in memory",
                received=preparation,
                fix="Give every experience the same transforms, or SelfDistillation(resident=False).",
            )
        self.engine.prepare, self._prepared = preparation, None

    def before_eval(self, strategy: Any, **kwargs: Any) -> None:
        """Put another network in the student's place, if the objective says so."""
        self.after_eval(strategy)
        self._criterion.restore(strategy)  # if a step was interrupted before its criterion was called
        model = self.engine.evaluation_model(strategy.model, self.evaluated)
        if model is not strategy.model:
            self._student, strategy.model = strategy.model, model

    def after_eval(self, strategy: Any, **kwargs: Any) -> None:
        """Give the strategy its student back."""
        if self._student is not None:
            strategy.model, self._student = self._student, None

    def before_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Serve the evaluation's mini-batches from tensors too."""
        if (tensors := self._tensor_loader(strategy)) is not None:
            tensors.before_eval_exp(strategy)

    def _tensor_loader(self, strategy: Any) -> TensorLoader | None:
        """The user's, wherever it stands among the plugins, or its own."""
        return next((p for p in strategy.plugins if isinstance(p, TensorLoader)), self._loader)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Cross the task boundary, if there is one here."""
        self._hooks.check_experience(strategy, self._name)
        if self._boundaries.ends_task(strategy.experience) and self.engine.stepped:
            moment = self.engine.moment
            whole = partial(rows_of, strategy, self._stores_raw, moment.experience)
            self.engine.end(whole if self._last is None else [of_classes(self._last, moment.classes.current)])

    # one training step -----------------------------------------------------------------------------------------

    def before_forward(self, strategy: Any, **kwargs: Any) -> None:
        """Draw what the terms need, and put what the student is to be shown in the place of the mini-batch."""
        self._hooks.meet("before_forward", strategy, self._name)
        self._criterion.restore(strategy)  # if the last step failed half-way
        mbatch, loader = strategy.mbatch, strategy.dataloader
        raw = loader.raw_of(mbatch[0]) if self._stores_raw and isinstance(loader, ResidentLoader) else None
        stores_raw = self._stores_raw and self.objective.memory is not None
        check_minibatch(strategy, self._name, raw, stores_raw=stores_raw)
        tasks = mbatch[-1] if self._tells_tasks else None
        if self.online:
            self._last = as_rows(mbatch[0] if raw is None else raw, mbatch[1], tasks, self.engine.moment.experience)
        step = self._step = self.engine.step(strategy.model, mbatch[0], mbatch[1], tasks, raw=raw)
        self._mbatch = None
        if step.inputs is not mbatch[0]:
            self._mbatch = mbatch
            further = mbatch[2:] if step.tasks is None else [*mbatch[2:-1], step.tasks]
            strategy.mbatch = [step.inputs, step.targets, *further]

    def after_forward(self, strategy: Any, **kwargs: Any) -> None:
        """Give the strategy its own mini-batch and output back."""
        self._hooks.meet("after_forward", strategy, self._name)
        check_outputs_of(strategy, self._name, self._current().inputs.shape[0])
        if self._mbatch is not None:
            strategy.mbatch, self._mbatch = self._mbatch, None
        strategy.mb_output = self.engine.receive(strategy.mb_output)
        if self.objective.criterion is not None:
            self._criterion.put(strategy, self._current())

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the terms to the loss."""
        self._hooks.meet("before_backward", strategy, self._name)
        self._criterion.check_called(strategy, self._name)
        for weight, value in self.engine.values(strategy.loss).values():
            strategy.loss.add_(value, alpha=weight)
        self.engine.watch(strategy.loss)

    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        """Let memory and teachers follow the step."""
        self._hooks.meet("after_update", strategy, self._name)
        self.engine.after_update(strategy.optimizer)
        self._step = None
        if self.log_every is not None and self.engine.moment.iteration % self.log_every == 0:
            self._publish(strategy)

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Refuse a training loop that leaves out hooks."""
        self._hooks.check(strategy, self._name)

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Publish the named losses."""
        self._hooks.check(strategy, self._name)
        self._publish(strategy)

    def _current(self) -> TrainingStep:
        assert self._step is not None, "no step was begun: the strategy skipped before_forward"
        return self._step

    def _publish(self, strategy: Any) -> None:
        """Send the mean of every named loss to the strategy's loggers."""
        publish = getattr(strategy.evaluator, "publish_metric_value", None)
        for name, mean in self.engine.mean_losses().items():
            if publish is not None:
                label = f"CKD_Loss/train_phase/train_stream/{name}"
                publish(MetricValue(self, label, mean, strategy.clock.train_iterations))
