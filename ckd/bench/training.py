"""One run: a recipe trained on a benchmark in an ordinary Avalanche loop."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ckd.bench.determinism import deterministic as bit_for_bit
from ckd.bench.learner import learner, sgd
from ckd.bench.notes import Notes
from ckd.bench.result import Result, provenance
from ckd.bench.saving import Saving, saving_first, say_that_it_goes_on
from ckd.bench.spec import RunSpec
from ckd.bench.teachers import network_for, packed
from ckd.bench.tracking import Tracked, Tracking
from ckd.data import as_benchmark, tensor_stream
from ckd.errors import ConfigError
from ckd.evaluation import Within, accuracies
from ckd.networks import convolutional
from ckd.objective import Objective
from ckd.recipes import get

if TYPE_CHECKING:
    from ckd.plugins import Checkpoint, MutualLearning

Progress = Callable[[float, int, float], None]
"""progress(experiences learnt, of how many, seconds of training and evaluation so far)"""


def run(
    spec: RunSpec,
    *,
    data_root: str | Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    tracking: Tracking | None = None,
    teachers: Sequence[bytes] = (),
    keep_network: bool = False,
    saving: Saving | None = None,
    deterministic: bool = False,
) -> Result:
    """Train as `spec` says; evaluate on every test experience before training and after each experience.

    Evaluations within experiences (`spec.evaluate_every`) ask what predicts at that step. An average of the weights is
    up to date; what is fitted when an experience ends (bias correction, nearest class means) is as it was fitted last,
    so nearest means do not know the classes that have just come.

    The global random state is seeded and afterwards as it was.

    Args:
        spec: what to run.
        data_root: where data sets are kept.
        device: for the model and the data.
        progress: called after each experience, and a few times a second within it.
        tracking: the trackers that follow the run.
        teachers: the trained networks of `spec.teachers`, as safetensors.
        keep_network: whether the result has the network that predicts at the end.
        saving: how checkpoints are written, from which the run goes on if there are any; None for none. They change no
            number. With them Ctrl-C and SIGTERM are obeyed after a checkpoint at the end of the step.
        deterministic: whether the numbers are the same bit for bit whatever the number of threads; see
            `ckd.bench.determinism`.

    Raises:
        CkdError: a setting or data that cannot work, or checkpoints none of which can be used.
        Interrupted: a signal, after a checkpoint.
    """
    where = check_device(device)
    stream = tensor_stream(
        spec.benchmark,
        n_experiences=spec.n_experiences,
        seed=spec.seed,
        data_root=data_root,
        validate=spec.validate,
        samples_per_class=spec.samples_per_class,
        stream=spec.stream or None,
    )
    devices = range(torch.cuda.device_count()) if where.type == "cuda" else []
    alone = nullcontext() if saving is None else saving.locked(spec)
    same, forked = bit_for_bit(deterministic, spec.seed, where), torch.random.fork_rng(devices=devices)
    with alone, (tracking or Tracking()).following(spec) as tracked, same, forked:
        torch.manual_seed(spec.seed)
        model = network_for(spec.network, stream).to(where)  # JointTraining evaluates it as it is
        objective, beside = learner(spec, stream, model, teachers, where)
        notes = Notes()
        checkpoint = None if saving is None else saving.plugin(spec, stream, teachers, notes=notes)
        with nullcontext() if checkpoint is None else saving_first(checkpoint):
            result = _train(
                spec,
                as_benchmark(stream),
                model,
                objective,
                beside,
                where,
                progress,
                tracked,
                keep_network,
                notes,
                checkpoint,
            )
        tracked.end(result)
    gc.collect()  # a strategy and its plugins hold each other, and with them the data: 300 MB a run of permuted MNIST
    return result


def check_device(name: str) -> torch.device:
    """The device called `name`, if it is there."""
    try:
        found = torch.zeros(1, device=name)
        found.item()  # not on "meta", which has no values
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ConfigError(
            "device", expected="cpu, or cuda where there is one", received=repr(name), fix="Use --device cpu."
        ) from error
    return found.device


def _evaluation_batch(model: nn.Module, device: torch.device) -> int:
    """Samples in a batch: on a CPU a convolution's outputs should stay in its cache (measured: 64 to 128)."""
    return 100 if device.type == "cpu" and convolutional(model) else 1000


def _train(
    spec: RunSpec,
    benchmark: Any,
    model: nn.Module,
    objective: Objective,
    beside: MutualLearning | None,
    device: torch.device,
    progress: Progress | None,
    tracked: Tracked,
    keep_network: bool,
    notes: Notes,
    checkpoint: Checkpoint | None,
) -> Result:
    from avalanche.training import Cumulative, JointTraining, Naive

    from ckd.plugins import (
        AccuracyRecorder,
        Compiled,
        LearningRateDecay,
        MixedPrecision,
        SelfDistillation,
        StepCounter,
        TensorLoader,
        WithinExperiences,
    )

    strategies = {"Naive": Naive, "Cumulative": Cumulative, "JointTraining": JointTraining}
    recorder, compiled = AccuracyRecorder(keep_predictions=True), Compiled()
    plugin = SelfDistillation(objective, online=spec.online)
    learnt, watch, within = 0, notes.watch, notes.within
    together = get(spec.recipe).strategy == "JointTraining"

    def report(part: float = 0.0) -> None:
        with watch.timing(None):
            tracked.losses(recorder.losses)
        if progress is not None:
            progress(learnt + part, len(lessons), watch.now())

    def track(found: Sequence[float], so_far: int) -> None:
        with watch.timing(None):
            notes.tell(tracked, recorder.losses, counter.steps, found, so_far)

    def evaluate(student: nn.Module, step: int) -> None:
        with watch.timing("evaluation"):
            tests = islice(benchmark.tensors.tensors("test"), None if together else learnt + 1)
            predicts = plugin.engine.evaluation_model(student)
            within.append(Within(learnt, step, accuracies(predicts, tests, _evaluation_batch(student, device))))
        track(within[-1].accuracies, len(within[-1].accuracies))

    def evaluate_all() -> None:
        with watch.timing("evaluation"):
            strategy.eval(benchmark.test_stream)
        found = list(recorder.get_last_metrics().values())
        track(found, len(found) if together and learnt else learnt)

    counter = StepCounter(report)
    strategy = strategies[get(spec.recipe).strategy](
        model=model,
        optimizer=sgd(model, spec),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=spec.batch_size,
        train_epochs=spec.epochs,
        eval_mb_size=_evaluation_batch(model, device),
        device=device,
        plugins=[
            *([TensorLoader(passes=spec.passes)] if spec.passes != 1 else []),
            plugin,
            *([MixedPrecision()] if spec.precision == "bfloat16" else []),
            *([compiled] if spec.compiled else []),
            *([LearningRateDecay(spec.lr_end, steps=spec.lr_steps)] if spec.lr_end != 1 else []),
            *([beside] if beside is not None else []),
            counter,
            *([WithinExperiences(spec.evaluate_every, evaluate)] if spec.evaluate_every else []),
            *([checkpoint] if checkpoint is not None else []),
        ],
        evaluator=recorder,
    )
    lessons = [benchmark.train_stream] if together else list(benchmark.train_stream)
    left: Iterable[Any] = lessons
    if checkpoint is not None:
        left, learnt = checkpoint.resume(strategy, lessons), checkpoint.learnt
    if checkpoint is not None and checkpoint.resumed:
        notes.tell_again(tracked, recorder.losses)
        say_that_it_goes_on(spec, counter.steps)
    else:
        evaluate_all()
    for lesson in left:
        with watch.timing("training"):
            strategy.train(lesson)
        learnt += 1
        evaluate_all()
        report()
    losses = {name.rsplit("/", 1)[1]: curve for name, curve in recorder.losses.items()}
    made = provenance(str(device))
    if spec.compiled:
        made["compiled graphs"] = str(compiled.graphs)
    if compiled.failed is not None:
        made["uncompiled"] = compiled.failed
    return Result(
        spec,
        recorder.matrix(),
        recorder.task_matrix(),
        losses,
        watch.seconds,
        plugin.engine.nbytes(),
        made,
        recorder.predictions(),
        counter.steps,
        within,
        packed(plugin.engine.evaluation_model(model), spec, benchmark.tensors) if keep_network else None,
    )
