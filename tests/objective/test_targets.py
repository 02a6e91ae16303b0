"""OldProbabilities, BestTeacher and ImplantedLogits against a loop over samples and classes."""

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import nn

from ckd import Engine, Memory, Objective, Snapshot, Term
from ckd.classes import Classes
from ckd.errors import ConfigError
from ckd.losses import binary_cross_entropy, logit_mse
from ckd.memory import RefreshedMemory, Rows
from ckd.objective import (
    Batch,
    Shown,
    best_teacher,
    implanted_logits,
    old_probabilities,
    replay,
    stream,
    teacher,
    union,
)
from ckd.part import Ending

TARGET = old_probabilities("past")
STREAM = Shown(stream)


def brute_force(past, known, seen, current, batch, width):
    """Targets (B, width) and valid classes (B, width), one number at a time; `past` is None before it is ready."""
    target, valid = np.zeros((len(batch.targets), width)), np.zeros((len(batch.targets), width), bool)
    for i, (x, y) in enumerate(zip(batch.inputs, batch.targets.tolist(), strict=True)):
        task = 0 if batch.tasks is None else batch.tasks[i].item()
        for c in range(width):
            target[i, c] = float(c == y)
            if past is not None and c in known[task] and c not in current.get(task, set()):
                target[i, c] = expit(past(x[None])[0, c].item())
            valid[i, c] = c in seen[task]
    return target, valid


class OneHead(nn.Linear):
    """The same units whatever the task, so that the reference need not choose among heads."""

    def forward(self, inputs, tasks=None):
        return super().forward(inputs)


def begun(*experiences, width=6, batch=None, per_task=False, objective=None):
    """A step in the last of the experiences, each a dictionary of classes by task label, and its student."""
    criterion = Term("criterion", stream, TARGET, binary_cross_entropy)
    engine = Engine(objective or Objective("x", criterion=criterion, teachers={"past": Snapshot()}))
    student, batch = OneHead(3, width), batch or stream_of([3, 4, 5, 3])
    for i, by_task in enumerate(experiences):
        engine.begin(by_task, per_task=per_task)
        step = engine.step(student, batch.inputs, batch.targets, batch.tasks)
        if i < len(experiences) - 1:
            engine.receive(student(step.inputs))
            engine.moment.iteration += 1  # the weights change below, and the memory stays as it is
            engine.end()
            nn.init.normal_(student.weight)
    engine.receive(student(step.inputs))
    return step, student


def stream_of(labels, tasks=None):
    inputs = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0))
    return Batch(inputs, torch.tensor(labels), None if tasks is None else torch.tensor(tasks))


def classes_of(*indices):
    """Bookkeeping in an experience that brings these classes."""
    classes = Classes()
    classes.begin({0: frozenset(indices)}, per_task=False)
    return classes


def teach(step, model, *indices):
    """Let the teacher be this model, taught these classes."""
    past = step.teacher("past")
    past.end(Ending(model, classes_of(*indices)))
    return past.model


def values(step):
    """Targets, and the valid classes as a full mask."""
    target, valid = TARGET.values(step, STREAM)
    valid = torch.ones_like(target, dtype=torch.bool) if valid is None else valid.expand_as(target)
    assert not target.requires_grad
    return target.numpy(), valid.numpy()


def assert_equal(found, wanted):
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-6)
    assert np.array_equal(found[1], wanted[1])


def test_before_the_teacher_is_ready_there_are_only_labels():
    step, _ = begun({0: [0, 1, 3]}, batch=stream_of([0, 1, 3, 1]))
    assert not step.teacher("past").ready
    assert_equal(values(step), brute_force(None, None, {0: {0, 1, 3}}, {}, step.stream, 6))


@pytest.mark.parametrize("labels", [[3, 4, 3, 4], [0, 4, 2, 3]], ids=["new", "old and new"])
def test_old_classes_are_the_teachers_and_new_ones_the_labels(labels):
    """Also for remembered samples of old classes, whose label then counts for nothing (algorithm 3)."""
    step, _ = begun({0: [0, 1, 2]}, {0: [3, 4]}, batch=stream_of(labels))
    past, old = step.teacher("past"), {0: {0, 1, 2}}
    assert past.classes.indices == [0, 1, 2]
    wanted = brute_force(past.model, old, {0: {0, 1, 2, 3, 4}}, {0: {3, 4}}, step.stream, 6)
    assert_equal(values(step), wanted)


def test_a_class_that_comes_again_is_current():
    """Its label counts, though the teacher knows it."""
    step, _ = begun({0: [0, 1, 2]}, {0: [2, 3]}, batch=stream_of([2, 3, 0, 2]))
    past = step.teacher("past").model
    wanted = brute_force(past, {0: {0, 1, 2}}, {0: {0, 1, 2, 3}}, {0: {2, 3}}, step.stream, 6)
    assert wanted[0][:, 2].tolist() == [1, 0, 0, 1]
    assert_equal(values(step), wanted)


def test_where_every_class_comes_again_there_are_only_labels():
    step, _ = begun({0: range(6)}, {0: range(6)})
    everything = {0: set(range(6))}
    assert_equal(values(step), brute_force(None, None, everything, everything, step.stream, 6))


@pytest.mark.parametrize("width", [1, 3, 5, 9])
def test_the_teacher_may_be_narrower_or_wider_than_the_student(width):
    step, _ = begun({0: [0, 1, 2]}, {0: [3, 4, 5]})
    known = [c for c in (0, 1, 2) if c < width]
    past = teach(step, nn.Linear(3, width), *known)
    wanted = brute_force(past, {0: set(known)}, {0: set(range(6))}, {0: {3, 4, 5}}, step.stream, 6)
    assert_equal(values(step), wanted)


def test_a_teacher_that_knows_every_unit_it_has_gives_all_of_them():
    step, _ = begun({0: [0, 1, 2]}, {0: [3, 4, 5]})
    past = teach(step, nn.Linear(3, 3), 0, 1, 2)  # no mask: None means all classes
    assert past.module.out_features == 3
    wanted = brute_force(past, {0: {0, 1, 2}}, {0: set(range(6))}, {0: {3, 4, 5}}, step.stream, 6)
    assert_equal(values(step), wanted)


def test_with_a_head_for_each_task_classes_go_by_the_samples_task():
    batch = stream_of([3, 4, 0, 1], tasks=[1, 1, 0, 0])
    step, _ = begun({0: [0, 1, 2]}, {1: [3, 4]}, batch=batch, per_task=True)
    past = step.teacher("past").model
    wanted = brute_force(past, {0: {0, 1, 2}, 1: set()}, {0: {0, 1, 2}, 1: {3, 4}}, {1: {3, 4}}, batch, 6)
    assert_equal(values(step), wanted)


def test_the_criterion_is_the_loss_of_these_targets_over_stream_and_memory():
    """The whole of iCaRL's loss, summed by hand."""
    filled, n = Memory(5), torch.arange(5)
    filled.add(Rows(torch.randn(5, 3), n % 3, 0 * n, 0 * n))
    criterion = Term("criterion", union(replay("a")), TARGET, binary_cross_entropy)
    objective = Objective("icarl", criterion=criterion, memory=filled, teachers={"past": Snapshot()})
    step, student = begun({0: {0, 1, 2}}, {0: {3, 4}}, batch=stream_of([3, 4, 4, 3]), objective=objective)
    joined, past = step.batch(union(replay("a"))), step.teacher("past").model
    assert len(joined.targets) == 8
    targets, valid = brute_force(past, {0: {0, 1, 2}}, {0: {0, 1, 2, 3, 4}}, {0: {3, 4}}, joined, 6)
    z = student(joined.inputs).detach().numpy().astype(np.float64)
    per_class = -targets * np.log(expit(z)) - (1 - targets) * np.log(1 - expit(z))
    assert step.criterion(None).item() == pytest.approx(per_class[valid].sum() / 8, rel=1e-5)


def test_a_teacher_that_is_not_there_is_refused_at_construction():
    with pytest.raises(ConfigError, match="Snapshot"):
        Objective("x", [Term("1", stream, TARGET, binary_cross_entropy)])


# a teacher's logits, and the best of several -------------------------------------------------------------------------


def test_of_a_teacher_only_past_samples_are_compared_with_where_it_is_asked_so():
    """A snapshot has met no sample of the experience that runs; the stream's have no experience and count."""
    filled, n = Memory(8), torch.arange(8)
    filled.add(Rows(torch.randn(8, 3), n % 6, 0 * n, n % 2))
    target = teacher("past", past_only=True)
    both = union(replay("a"))
    draws = {"kd": replay("a"), "stream": stream, "both": both}
    terms = [Term(name, draw, target, logit_mse) for name, draw in draws.items()]
    objective = Objective("x", terms, memory=filled, teachers={"past": Snapshot()})
    step, student = begun({0: {0, 1, 2}}, {0: {3, 4}}, objective=objective, batch=stream_of([3, 4] * 4))
    past, batch = step.teacher("past").model, step.batch(replay("a"))
    found, valid = target.values(step, Shown(replay("a")))
    assert torch.equal(found, past(batch.inputs))
    is_past = batch.experiences < 1
    assert is_past.tolist().count(True) == 4
    assert torch.equal(valid, is_past[:, None] & torch.tensor([True] * 3 + [False] * 3))
    gaps = (student(batch.inputs) - past(batch.inputs))[is_past][:, :3].square().mean(1).sum() / 8
    assert step.values()["kd"][1].item() == pytest.approx(gaps.item(), rel=1e-5)
    gaps = (student(step.stream.inputs) - past(step.stream.inputs))[:, :3].square().mean()
    assert step.values()["stream"][1].item() == pytest.approx(gaps.item(), rel=1e-5)
    assert torch.equal(target.values(step, Shown(both))[1][:, 0], torch.cat([torch.ones(8, dtype=torch.bool), is_past]))


def test_the_best_teacher_is_chosen_for_each_sample():
    past = {name: Snapshot() for name in "ab"}
    objective = Objective("x", [Term("mse", stream, best_teacher(("a", "b")), logit_mse)], teachers=past)
    step, student = begun({0: range(3)}, {0: range(3, 6)}, objective=objective, batch=stream_of([3, 4, 5] * 4))
    for one in past.values():
        one.end(Ending(nn.Linear(3, 6), step.moment.classes))
    wanted, chosen = 0.0, set()
    for x, y in zip(step.stream.inputs, step.stream.targets, strict=True):
        outputs = {name: past[name].model(x[None])[0] for name in "ab"}
        best = max(outputs, key=lambda name: outputs[name].softmax(0)[y].item())
        chosen.add(best)
        wanted += (student(x) - outputs[best]).square().mean().item() / len(step.stream.targets)
    assert chosen == {"a", "b"}
    assert step.values()["mse"][1].item() == pytest.approx(wanted, rel=1e-5)


# implanted logits ----------------------------------------------------------------------------------------------------

GAMMA = 0.75
DRAWN = Shown(replay("a"))


class WithLogits(RefreshedMemory):
    """Holds the logits that it is given, and draws every sample."""

    def _offer(self, incoming, *, all_known):
        Memory._offer(self, incoming, all_known=all_known)
        self._waiting.zero_()


def remembering(stored, labels, *, tasks=None):
    """A memory with these logits."""
    logits, labels = torch.as_tensor(stored), torch.tensor(labels)
    filled = WithLogits(len(labels), keep_logits=True)
    tasks = 0 * labels if tasks is None else torch.tensor(tasks)
    inputs = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    filled.add(Rows(inputs, labels, tasks, 0 * labels, logits))
    return filled


def drawn(filled, *experiences, width=6, per_task=False):
    """A step in the last experience whose draw is the whole memory."""
    n, student = len(filled), OneHead(3, width, dtype=torch.float64)
    nn.init.normal_(student.weight, std=1.5, generator=torch.Generator().manual_seed(1))
    engine = Engine(Objective("x", [Term("logits", replay("a"), implanted_logits(GAMMA), logit_mse)], memory=filled))
    tasks = torch.zeros(n, dtype=torch.int64) if per_task else None
    for i, by_task in enumerate(experiences):
        engine.begin(by_task, per_task=per_task)
        if i < len(experiences) - 1:
            engine.moment.end_experience()  # without bringing the stored logits up to date
    step = engine.step(student, torch.randn(n, 3, dtype=torch.float64), torch.zeros(n, dtype=torch.int64), tasks)
    engine.receive(student(step.inputs) if tasks is None else student(step.inputs, step.tasks))
    return step


def one_number_at_a_time(step, current):
    """Targets (B, width), NaN where there are none; `current` has the classes by task label."""
    batch, student = step.batch(DRAWN), step.student(DRAWN).tolist()
    target = np.full((len(batch.targets), len(student[0])), np.nan)
    for i, (label, stored) in enumerate(zip(batch.targets.tolist(), batch.logits.tolist(), strict=True)):
        known = [c for c, value in enumerate(stored) if not np.isnan(value)]
        target[i, known] = [stored[c] for c in known]
        task = 0 if batch.tasks is None else batch.tasks[i].item()
        later = [c for c in current[task] if c not in known] if known else []
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


def logits_of(n, width, *rows):
    """Random logits (n, width), the i-th of the classes of `rows[i % len(rows)]` and no others."""
    logits = 2 * torch.randn(n, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for i in range(n):
        logits[i, [c for c in range(width) if c not in rows[i % len(rows)]]] = torch.nan
    return logits


def test_stored_logits_stay_and_those_of_current_classes_are_the_students_bounded():
    """Samples of the past, and of the experience that runs: these have no logits yet, and get none."""
    stored = logits_of(40, 6, {0, 1, 2}, set(), {0, 1, 2})
    labels = [3 if i % 3 == 1 else i % 2 for i in range(40)]
    step = drawn(remembering(stored, labels), {0: {0, 1, 2}}, {0: {3, 4}})
    wanted = assert_implanted(step, {0: {3, 4}})
    kinds = {tuple(row) for row in ~np.isnan(wanted)}
    assert kinds == {(True,) * 5 + (False,), (False,) * 6}
    bounded = wanted[:, 3:5] != step.student(DRAWN).detach().numpy()[:, 3:5]
    assert 5 < bounded.all(1).sum() < 35  # with those that have no logits


def test_a_class_with_a_stored_logit_that_comes_again_keeps_it():
    stored = logits_of(20, 6, {0, 1})
    step = drawn(remembering(stored, [0, 1] * 10), {0: {0, 1}}, {0: {1, 2}})
    wanted = assert_implanted(step, {0: {1, 2}})
    assert sorted(map(tuple, wanted[:, :2])) == sorted(map(tuple, stored[:, :2].tolist()))


@pytest.mark.parametrize("width", [6, 8])
def test_stored_logits_may_be_of_a_narrower_head(width):
    step = drawn(remembering(logits_of(20, 3, {0, 1, 2}), [0, 1] * 10), {0: {0, 1, 2}}, {0: {3, 5}}, width=width)
    assert_implanted(step, {0: {3, 5}})


def test_every_unit_may_be_current():
    step = drawn(remembering(logits_of(20, 4, {0, 1}), [0, 1] * 10), {0: {0, 1}}, {0: {0, 1, 2, 3}}, width=4)
    wanted = assert_implanted(step, {0: {0, 1, 2, 3}})
    assert not np.isnan(wanted).any()


def test_with_heads_per_task_only_the_current_classes_of_its_own_head_are_implanted():
    stored = logits_of(20, 6, {0, 1}, {0, 2})
    filled = remembering(stored, [0] * 20, tasks=[0, 1] * 10)
    step = drawn(filled, {0: {0, 1}}, {1: {0, 2}}, {0: {3}, 2: {4}}, per_task=True)
    wanted = assert_implanted(step, {0: {3}, 1: set(), 2: {4}})
    assert {tuple(np.flatnonzero(row)) for row in ~np.isnan(wanted)} == {(0, 1, 3), (0, 2)}


def test_a_class_that_came_between_and_was_not_implanted_has_no_target():
    step = drawn(remembering(logits_of(20, 6, {0, 1}), [0, 1] * 10), {0: {0, 1}}, {0: {2}}, {0: {3}})
    wanted = assert_implanted(step, {0: {3}})
    assert np.isnan(wanted[:, 2]).all()


def test_before_any_experience_ended_there_is_nothing_to_match():
    step = drawn(remembering(logits_of(4, 6, set()), [0, 1, 0, 1]), {0: {0, 1}})
    assert_implanted(step, {0: {0, 1}})
    assert step.values()["logits"][1].item() == 0


def test_the_term_is_the_mean_square_over_the_classes_that_a_sample_has_a_target_for():
    stored = logits_of(12, 6, {0, 1, 2}, set())
    step = drawn(remembering(stored, [0, 3] * 6), {0: {0, 1, 2}}, {0: {3, 4}})
    gaps = one_number_at_a_time(step, {0: {3, 4}}) - step.student(DRAWN).detach().numpy()
    wanted = sum(np.square(row[~np.isnan(row)]).mean() for row in gaps if not np.isnan(row).all()) / 12
    assert step.values()["logits"][1].item() == pytest.approx(wanted, rel=1e-12)
    (gradient,) = torch.autograd.grad(step.values()["logits"][1], step.student(DRAWN))
    assert gradient[:, 3:5].any()
    assert not gradient[:, 5].any()


def test_it_makes_the_memory_keep_logits():
    filled = RefreshedMemory(3)
    Objective("x", [Term("1", replay("a"), implanted_logits(GAMMA), logit_mse)], memory=filled)
    assert filled.keep_logits
    with pytest.raises(ConfigError, match="from memory"):
        Objective("x", [Term("1", stream, implanted_logits(GAMMA), logit_mse)], memory=filled)


def test_implanting_needs_a_memory_that_is_brought_up_to_date():
    term = Term("logits", draw=replay("a"), target=implanted_logits(0.85), loss=logit_mse)
    with pytest.raises(ConfigError, match=r"Pass memory=RefreshedMemory\(200\)"):
        Objective("mine", [term], memory=Memory(20))
    Objective("mine", [term], memory=RefreshedMemory(20))
