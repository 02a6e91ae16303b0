"""OldAnswers against a loop over samples and classes."""

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import nn

from ckd import Memory, Objective, Snapshot, Term
from ckd.classes import ClassSet
from ckd.errors import ConfigError
from ckd.losses import binary_cross_entropy_per_sample
from ckd.memory import Rows
from ckd.objective import STREAM, Batch, Context, memory, old_answers, stream, union
from ckd.part import Ending

TARGET = old_answers("past")


def brute_force(teacher, taught, seen, batch, width):
    """Targets (B, width) and valid classes (B, width), one number at a time; `teacher` is None before it is ready."""
    target, valid = np.zeros((len(batch.targets), width)), np.zeros((len(batch.targets), width), bool)
    for i, (x, y) in enumerate(zip(batch.inputs, batch.targets.tolist(), strict=True)):
        task = 0 if batch.tasks is None else batch.tasks[i].item()
        for c in range(width):
            target[i, c] = float(c == y)
            if teacher is not None and c in taught[task]:
                target[i, c] = expit(teacher(x[None])[0, c].item())
            valid[i, c] = c in seen[task]
    return target, valid


def begun(*experiences, width=6, batch=None, per_task=False):
    """A step in the last of the experiences, each a dictionary of classes by task label."""
    objective = Objective(
        "x", criterion=Term("criterion", stream, TARGET, binary_cross_entropy_per_sample), teachers={"past": Snapshot()}
    )
    for i, by_task in enumerate(experiences):
        objective.begin(nn.Linear(3, width), {t: frozenset(c) for t, c in by_task.items()}, per_task=per_task)
        if i < len(experiences) - 1:
            objective.end(nn.Linear(3, width))
    context = Context(len(experiences) - 1, 0, objective.classes, lambda m, x, t: m(x), lambda raw, g: raw)
    return objective.step(batch or stream_of([3, 4, 5, 3]), context)


def stream_of(labels, tasks=None):
    inputs = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0))
    return Batch(inputs, torch.tensor(labels), None if tasks is None else torch.tensor(tasks))


def teach(step, model, *classes):
    """Let the teacher be this model, taught these classes."""
    past = step.objective.teachers["past"]
    past.end(Ending(model, ClassSet({0: frozenset(classes)})))
    return past.model


def values(step, width=6):
    """Targets, and the valid classes as a full mask."""
    step.answer(STREAM, nn.Linear(3, width)(step.stream.inputs))
    target, valid = TARGET.values(step, STREAM)
    valid = torch.ones_like(target, dtype=torch.bool) if valid is None else valid.expand_as(target)
    assert not target.requires_grad
    return target.numpy(), valid.numpy()


def assert_equal(found, wanted):
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-6)
    assert np.array_equal(found[1], wanted[1])


def test_before_the_teacher_is_ready_there_are_only_labels():
    step = begun({0: [0, 1, 3]}, batch=stream_of([0, 1, 3, 1]))
    assert not step.objective.teachers["past"].ready
    assert_equal(values(step), brute_force(None, None, {0: {0, 1, 3}}, step.stream, 6))


@pytest.mark.parametrize("labels", [[3, 4, 3, 4], [0, 4, 2, 3]], ids=["new", "old and new"])
def test_old_classes_are_the_teachers_and_new_ones_the_labels(labels):
    """Also for remembered samples of old classes, whose label then counts for nothing (algorithm 3)."""
    step = begun({0: [0, 1, 2]}, {0: [3, 4]}, batch=stream_of(labels))
    past, old = step.objective.teachers["past"], {0: {0, 1, 2}}
    assert past.taught.indices == [0, 1, 2]
    assert_equal(values(step), brute_force(past.model, old, {0: {0, 1, 2, 3, 4}}, step.stream, 6))


@pytest.mark.parametrize("width", [1, 3, 5, 9])
def test_the_teacher_may_be_narrower_or_wider_than_the_student(width):
    step = begun({0: [0, 1, 2]}, {0: [3, 4, 5]})
    taught = [c for c in (0, 1, 2) if c < width]
    past = teach(step, nn.Linear(3, width), *taught)
    assert_equal(values(step), brute_force(past, {0: set(taught)}, {0: set(range(6))}, step.stream, 6))


def test_a_teacher_taught_every_unit_it_has_is_asked_about_all_of_them():
    step = begun({0: [0, 1, 2]}, {0: [3, 4, 5]})
    past = teach(step, nn.Linear(3, 3), 0, 1, 2)  # no mask: None means all classes
    assert past.module.out_features == 3
    assert_equal(values(step), brute_force(past, {0: {0, 1, 2}}, {0: set(range(6))}, step.stream, 6))


def test_with_a_head_for_each_task_classes_go_by_the_samples_task():
    batch = stream_of([3, 4, 0, 1], tasks=[1, 1, 0, 0])
    step = begun({0: [0, 1, 2]}, {1: [3, 4]}, batch=batch, per_task=True)
    past = step.objective.teachers["past"].model
    wanted = brute_force(past, {0: {0, 1, 2}, 1: set()}, {0: {0, 1, 2}, 1: {3, 4}}, batch, 6)
    assert_equal(values(step), wanted)


def test_the_criterion_is_the_loss_of_these_targets_over_stream_and_memory():
    """The whole of iCaRL's loss, summed by hand."""
    filled, n = Memory(5), torch.arange(5)
    filled.add(Rows(torch.randn(5, 3), n % 3, 0 * n, 0 * n))
    objective = Objective(
        "icarl",
        criterion=Term("criterion", union(memory("a")), TARGET, binary_cross_entropy_per_sample),
        memory=filled,
        teachers={"past": Snapshot()},
    )
    old, student = nn.Linear(3, 6), nn.Linear(3, 6)
    objective.begin(old, {0: frozenset({0, 1, 2})}, per_task=False)
    objective.end(old)
    objective.begin(student, {0: frozenset({3, 4})}, per_task=False)
    context = Context(1, 0, objective.classes, lambda m, x, t: m(x), lambda raw, g: raw)
    step = objective.step(stream_of([3, 4, 4, 3]), context)
    for question in (STREAM, *step.questions()):
        step.answer(question, student(step.batch(question).inputs))
    joined = step.batch(union(memory("a")))
    assert len(joined.targets) == 8
    targets, valid = brute_force(old, {0: {0, 1, 2}}, {0: {0, 1, 2, 3, 4}}, joined, 6)
    z = student(joined.inputs).detach().numpy().astype(np.float64)
    per_class = -targets * np.log(expit(z)) - (1 - targets) * np.log(1 - expit(z))
    assert step.criterion(None).item() == pytest.approx(per_class[valid].sum() / 8, rel=1e-5)


def test_a_teacher_that_is_not_there_is_refused_at_construction():
    with pytest.raises(ConfigError, match="Snapshot"):
        Objective("x", [Term("1", stream, TARGET, binary_cross_entropy_per_sample)])
