"""OldAnswers and ImplantedLogits against a loop over samples and classes."""

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import nn

from ckd import Memory, Objective, Snapshot, Term
from ckd.classes import ClassSet
from ckd.errors import ConfigError
from ckd.losses import binary_cross_entropy, logit_mse
from ckd.memory import RefreshedMemory, Rows
from ckd.objective import STREAM, Batch, Context, Question, implanted_logits, memory, old_answers, stream, union
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
        "x", criterion=Term("criterion", stream, TARGET, binary_cross_entropy), teachers={"past": Snapshot()}
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
        criterion=Term("criterion", union(memory("a")), TARGET, binary_cross_entropy),
        memory=filled,
        teachers={"past": Snapshot()},
    )
    old, student = nn.Linear(3, 6), nn.Linear(3, 6)
    objective.begin(old, {0: frozenset({0, 1, 2})}, per_task=False)
    objective.end(old)
    objective.begin(student, {0: frozenset({3, 4})}, per_task=False)
    context = Context(1, 0, objective.classes, lambda m, x, t: m(x), lambda raw, g: raw)
    step = objective.step(stream_of([3, 4, 4, 3]), context)
    for question in (STREAM, *step.questions):
        step.answer(question, student(step.batch(question).inputs))
    joined = step.batch(union(memory("a")))
    assert len(joined.targets) == 8
    targets, valid = brute_force(old, {0: {0, 1, 2}}, {0: {0, 1, 2, 3, 4}}, joined, 6)
    z = student(joined.inputs).detach().numpy().astype(np.float64)
    per_class = -targets * np.log(expit(z)) - (1 - targets) * np.log(1 - expit(z))
    assert step.criterion(None).item() == pytest.approx(per_class[valid].sum() / 8, rel=1e-5)


def test_a_teacher_that_is_not_there_is_refused_at_construction():
    with pytest.raises(ConfigError, match="Snapshot"):
        Objective("x", [Term("1", stream, TARGET, binary_cross_entropy)])


# implanted logits --------------------------------------------------------------------------------------------------

GAMMA = 0.75
DRAWN = Question(memory("a"))


class Answered(RefreshedMemory):
    """Holds the answers that it is given."""

    add = Memory.add
    answered = True


def remembering(stored, labels, *, tasks=None):
    """A memory with these answers."""
    logits, labels = torch.as_tensor(stored), torch.tensor(labels)
    filled = Answered(len(labels), keep_logits=True)
    tasks = 0 * labels if tasks is None else torch.tensor(tasks)
    filled.add(Rows(torch.randn(len(labels), 3, dtype=torch.float64), labels, tasks, 0 * labels, logits))
    return filled


def drawn(filled, *experiences, width=6, per_task=False):
    """A step in the last experience whose draw is the whole memory; with the student's answers."""
    n = len(filled)
    objective = Objective("x", [Term("logits", memory("a"), implanted_logits(GAMMA), logit_mse)], memory=filled)
    for i, by_task in enumerate(experiences):
        objective.begin(nn.Linear(3, width), {t: frozenset(c) for t, c in by_task.items()}, per_task=per_task)
        if i < len(experiences) - 1:
            objective.classes.close()
    context = Context(len(experiences) - 1, 0, objective.classes, lambda m, x, t: m(x), lambda raw, g: raw)
    tasks = torch.zeros(n, dtype=torch.int64) if per_task else None
    step = objective.step(Batch(torch.randn(n, 3), torch.zeros(n, dtype=torch.int64), tasks), context)
    student = 4 * torch.randn(n, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    step.answer(DRAWN, student.requires_grad_())
    return step


def one_number_at_a_time(step, current):
    """Targets (B, width), NaN where there are none; `current` has the classes by task label."""
    batch, student = step.batch(DRAWN), step.student(DRAWN).tolist()
    target = np.full((len(batch.targets), len(student[0])), np.nan)
    for i, (label, stored) in enumerate(zip(batch.targets.tolist(), batch.logits.tolist(), strict=True)):
        answered = [c for c, value in enumerate(stored) if not np.isnan(value)]
        target[i, answered] = [stored[c] for c in answered]
        task = 0 if batch.tasks is None else batch.tasks[i].item()
        later = [c for c in current[task] if c not in answered] if answered else []
        if later:
            largest = max(student[i][c] for c in later)
            factor = min(max(GAMMA * stored[label] / largest, 0), 1) if largest > stored[label] else 1
            target[i, later] = [factor * student[i][c] for c in later]
    return target


def assert_implanted(step, current):
    target, valid = implanted_logits(GAMMA).values(step, DRAWN)
    assert not target.requires_grad
    wanted = one_number_at_a_time(step, current)
    assert np.array_equal(valid.expand_as(target).numpy(), ~np.isnan(wanted))
    np.testing.assert_allclose(target.masked_fill(~valid, torch.nan).numpy(), wanted, rtol=1e-12)
    return wanted


def answers_about(n, width, *rows):
    """Random answers (n, width), the i-th about the classes of `rows[i % len(rows)]` and no others."""
    logits = 2 * torch.randn(n, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for i in range(n):
        logits[i, [c for c in range(width) if c not in rows[i % len(rows)]]] = torch.nan
    return logits


def test_stored_answers_stay_and_those_about_current_classes_are_the_students_bounded():
    """Samples of the past, and of the experience that runs: these have no answers yet, and get none."""
    stored = answers_about(40, 6, {0, 1, 2}, set(), {0, 1, 2})
    labels = [3 if i % 3 == 1 else i % 2 for i in range(40)]
    step = drawn(remembering(stored, labels), {0: {0, 1, 2}}, {0: {3, 4}})
    wanted = assert_implanted(step, {0: {3, 4}})
    kinds = {tuple(row) for row in ~np.isnan(wanted)}
    assert kinds == {(True,) * 5 + (False,), (False,) * 6}
    bounded = wanted[:, 3:5] != step.student(DRAWN).detach().numpy()[:, 3:5]
    assert 5 < bounded.all(1).sum() < 35  # with those that have no answers


def test_a_class_that_was_answered_and_comes_again_keeps_its_answer():
    stored = answers_about(20, 6, {0, 1})
    step = drawn(remembering(stored, [0, 1] * 10), {0: {0, 1}}, {0: {1, 2}})
    wanted = assert_implanted(step, {0: {1, 2}})
    assert sorted(map(tuple, wanted[:, :2])) == sorted(map(tuple, stored[:, :2].tolist()))


@pytest.mark.parametrize("width", [6, 8])
def test_answers_may_be_of_a_narrower_head(width):
    step = drawn(remembering(answers_about(20, 3, {0, 1, 2}), [0, 1] * 10), {0: {0, 1, 2}}, {0: {3, 5}}, width=width)
    assert_implanted(step, {0: {3, 5}})


def test_every_unit_may_be_current():
    step = drawn(remembering(answers_about(20, 4, {0, 1}), [0, 1] * 10), {0: {0, 1}}, {0: {0, 1, 2, 3}}, width=4)
    wanted = assert_implanted(step, {0: {0, 1, 2, 3}})
    assert not np.isnan(wanted).any()


def test_with_heads_per_task_only_the_current_classes_of_its_own_head_are_implanted():
    stored = answers_about(20, 6, {0, 1}, {0, 2})
    filled = remembering(stored, [0] * 20, tasks=[0, 1] * 10)
    step = drawn(filled, {0: {0, 1}}, {1: {0, 2}}, {0: {3}, 2: {4}}, per_task=True)
    wanted = assert_implanted(step, {0: {3}, 1: set(), 2: {4}})
    assert {tuple(np.flatnonzero(row)) for row in ~np.isnan(wanted)} == {(0, 1, 3), (0, 2)}


def test_a_class_that_came_between_and_was_not_implanted_has_no_target():
    step = drawn(remembering(answers_about(20, 6, {0, 1}), [0, 1] * 10), {0: {0, 1}}, {0: {2}}, {0: {3}})
    wanted = assert_implanted(step, {0: {3}})
    assert np.isnan(wanted[:, 2]).all()


def test_before_any_experience_ended_there_is_nothing_to_match():
    step = drawn(remembering(answers_about(4, 6, set()), [0, 1, 0, 1]), {0: {0, 1}})
    assert_implanted(step, {0: {0, 1}})
    assert step.losses()["logits"].item() == 0


def test_the_term_is_the_mean_square_over_the_classes_that_a_sample_has_a_target_for():
    stored = answers_about(12, 6, {0, 1, 2}, set())
    step = drawn(remembering(stored, [0, 3] * 6), {0: {0, 1, 2}}, {0: {3, 4}})
    gaps = one_number_at_a_time(step, {0: {3, 4}}) - step.student(DRAWN).detach().numpy()
    wanted = sum(np.square(row[~np.isnan(row)]).mean() for row in gaps if not np.isnan(row).all()) / 12
    assert step.losses()["logits"].item() == pytest.approx(wanted, rel=1e-12)
    step.losses()["logits"].backward()
    assert not step.student(DRAWN).grad[:, 5].any()


def test_it_makes_the_memory_keep_answers():
    filled = RefreshedMemory(3)
    Objective("x", [Term("1", memory("a"), implanted_logits(GAMMA), logit_mse)], memory=filled)
    assert filled.keep_logits
    with pytest.raises(ConfigError, match="from memory"):
        Objective("x", [Term("1", stream, implanted_logits(GAMMA), logit_mse)], memory=filled)


def test_implanting_needs_a_memory_that_is_brought_up_to_date():
    term = Term("logits", draw=memory("a"), target=implanted_logits(0.85), loss=logit_mse)
    with pytest.raises(ConfigError, match=r"Pass memory=RefreshedMemory\(200\)"):
        Objective("mine", [term], memory=Memory(20))
    Objective("mine", [term], memory=RefreshedMemory(20))
