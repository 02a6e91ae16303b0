"""Over which classes a loss runs, against a loop over samples and classes."""

from functools import partial

import pytest
import torch
from torch import nn

from ckd import Engine, Objective, Snapshot, Term
from ckd.losses import cross_entropy, kd
from ckd.objective import (
    Batch,
    Moment,
    all_classes,
    current,
    each_old_experience,
    old,
    old_or_current,
    present,
    seen,
    stream,
    teacher,
)

STREAMS = {
    "first experience": [{0: {0, 1, 2}}],
    "second": [{0: {0, 1}}, {0: {2, 5}}],
    "third": [{0: {0, 1}}, {0: {2}}, {0: {3, 4}}],
    "a class that comes again": [{0: {0, 1}}, {0: {1, 2, 4}}],
    "one that comes again later": [{0: {0, 1}}, {0: {2, 3}}, {0: {0, 4}}],
    "nothing new in the second": [{0: {0, 1, 2}}, {0: {1}}, {0: {3}}],
    "all classes seen": [{0: {0, 1, 2}}, {0: {3, 4, 5}}],
    "all classes current": [{0: {0, 1}}, {0: {0, 1, 2, 3, 4, 5}}],
    "task labels, one head": [{0: {0, 1}}, {1: {2, 3}}, {2: {4}}],
}
HEADS_PER_TASK = {
    "second": [{0: {0, 1}}, {1: {0, 2}}],
    "third": [{0: {0, 1}}, {1: {0, 2}}, {2: {5}}],
    "a task that comes again": [{0: {0, 1}}, {1: {0, 2}}, {0: {1, 3}, 2: {4}}],
}
EVERY = pytest.mark.parametrize("name", STREAMS)
EVERY_PER_TASK = pytest.mark.parametrize("name", HEADS_PER_TASK)


def moment_in(experiences, *, per_task=False):
    """A moment in the last of the experiences, each a dictionary of classes by task label."""
    moment = Moment()
    for i, by_task in enumerate(experiences):
        moment.classes.begin({t: frozenset(c) for t, c in by_task.items()}, per_task=per_task)
        if i < len(experiences) - 1:
            moment.end_experience()
    return moment


def samples(experiences, *, per_task):
    """A sample of every class seen, with its task label where that counts."""
    labels = sorted(
        {(t if per_task else 0, c) for by_task in experiences for t, found in by_task.items() for c in found}
    )
    tasks, classes = torch.tensor(labels).unbind(1)
    return Batch(torch.randn(len(labels), 3), classes, tasks if per_task else None)


def sets(mask, batch, width):
    """A mask as one set of classes for each sample."""
    full = torch.ones(len(batch.targets), width, dtype=torch.bool)
    full = full if mask is None else mask.expand_as(full)
    return [set(row.nonzero()[:, 0].tolist()) for row in full]


def met(experiences, task):
    """What the experiences teach the head of a task; all of them if there is one head (None)."""
    return set().union(*(c for by_task in experiences for t, c in by_task.items() if task is None or t == task))


def separated(experiences, label, task):
    now = met(experiences[-1:], task)
    return now if label in now else met(experiences, task) - now


def one_by_one(experiences, task, every_task):
    """The classes of a head that each past experience was the first to bring, if it brought any to any head."""
    found = []
    for i, by_task in enumerate(experiences[:-1]):
        new = {t: met([by_task], t) - met(experiences[:i], t) for t in every_task}
        if any(new.values()):
            found.append(new[task])
    return found


def assert_separated(experiences, *, per_task, width=6):
    batch = samples(experiences, per_task=per_task)
    (mask,) = old_or_current(moment_in(experiences, per_task=per_task), batch, width)
    tasks = batch.tasks.tolist() if per_task else [None] * len(batch.targets)
    wanted = [separated(experiences, y, t) for y, t in zip(batch.targets.tolist(), tasks, strict=True)]
    assert sets(mask, batch, width) == wanted
    return mask


def assert_one_by_one(experiences, *, per_task, width=6):
    batch = samples(experiences, per_task=per_task)
    masks = each_old_experience(moment_in(experiences, per_task=per_task), batch, width)
    tasks = batch.tasks.tolist() if per_task else [None] * len(batch.targets)
    wanted = [one_by_one(experiences, t, set(tasks)) for t in tasks]
    groups = [sets(mask, batch, width) for mask in masks]
    assert [[group[i] for group in groups] for i in range(len(tasks))] == wanted
    return masks


@EVERY
@pytest.mark.parametrize("width", [6, 9])
def test_current_samples_get_the_current_classes_and_others_the_rest_of_those_seen(name, width):
    assert_separated(STREAMS[name], per_task=False, width=width)


@EVERY_PER_TASK
def test_with_heads_per_task_they_get_those_of_their_head(name):
    assert_separated(HEADS_PER_TASK[name], per_task=True)


def test_there_is_no_mask_when_every_unit_is_current():
    assert assert_separated(STREAMS["all classes current"], per_task=False) is None


def test_a_remembered_sample_of_a_class_that_comes_again_is_a_current_one():
    experiences = STREAMS["a class that comes again"]
    assert separated(experiences, 1, None) == {1, 2, 4}
    assert separated(experiences, 0, None) == {0}
    assert_separated(experiences, per_task=False)


@EVERY
@pytest.mark.parametrize("width", [6, 9])
def test_there_is_a_group_for_each_past_experience_with_what_it_was_the_first_to_bring(name, width):
    assert_one_by_one(STREAMS[name], per_task=False, width=width)


@EVERY_PER_TASK
def test_with_heads_per_task_each_head_has_its_own(name):
    assert_one_by_one(HEADS_PER_TASK[name], per_task=True)


@pytest.mark.parametrize(
    ("name", "number"),
    [("first experience", 0), ("second", 1), ("third", 2), ("nothing new in the second", 1)],
)
def test_there_are_as_many_groups_as_experiences_that_brought_something(name, number):
    assert len(assert_one_by_one(STREAMS[name], per_task=False)) == number


def test_with_a_shared_head_no_class_is_in_two_groups():
    assert_one_by_one([{0: {0, 1}}, {1: {0, 1}}, {2: {2}}], per_task=False)


def test_no_softmax_runs_over_both():
    """A logit of a current class moves no loss of an old sample, and the other way round."""
    experiences = STREAMS["third"]
    batch = samples(experiences, per_task=False)
    (mask,) = old_or_current(moment_in(experiences), batch, 6)
    logits = torch.randn(len(batch.targets), 6, requires_grad=True)
    cross_entropy(logits, batch.targets, classes=mask).sum().backward()
    is_current = torch.isin(batch.targets, torch.tensor([3, 4]))
    assert not logits.grad[~is_current][:, 3:].any()
    assert not logits.grad[is_current][:, :3].any()
    assert logits.grad[is_current][:, 3:5].all()
    assert logits.grad[~is_current][:, :3].all()


@pytest.mark.parametrize(
    ("group", "wanted"),
    [(old, [0, 1, 2]), (current, [3, 4, 5]), (present, [3, 5]), (seen, None), (all_classes, None)],
)
def test_the_other_groups_against_brute_force(group, wanted):
    moment, batch = moment_in(STREAMS["all classes seen"]), Batch(torch.randn(2, 3), torch.tensor([5, 3]), None)
    (mask,) = group(moment, batch, 6)
    assert (mask is None) if wanted is None else mask.nonzero()[:, 0].tolist() == wanted
    if group is seen:
        (wider,) = group(moment, batch, 8)
        assert wider.tolist() == [True] * 6 + [False] * 2


def learnt(term, experiences, student, teachers=None):
    """An engine with this one term, in the last of the experiences."""
    engine = Engine(Objective("x", [term], teachers=teachers))
    for i, by_task in enumerate(experiences):
        engine.begin(by_task)
        if i < len(experiences) - 1:
            engine.loss(student, torch.randn(2, 3), torch.zeros(2, dtype=torch.int64))
            engine.end()
    return engine


def test_each_past_experience_is_distilled_by_itself():
    term = Term("kd", stream, teacher("past"), partial(kd, temperature=2.0), groups=each_old_experience)
    student, x = nn.Linear(3, 6), torch.randn(4, 3)
    engine = learnt(term, [{0: {0, 3}}, {0: {1, 2, 3}}, {0: {4}}], student, {"past": Snapshot()})
    before = student(x).detach()
    nn.init.normal_(student.weight)
    found = engine.loss(student, x, torch.full((4,), 4))
    wanted = 0.0
    for columns in ([0, 3], [1, 2]):
        log_q = (student(x)[:, columns] / 2).log_softmax(1)
        log_p = (before[:, columns] / 2).log_softmax(1)
        wanted += 4 * (log_p.exp() * (log_p - log_q)).sum(1).mean().item()
    assert wanted > 0.01
    assert found.parts["kd"].item() == pytest.approx(wanted, rel=1e-5)


def test_a_term_without_any_group_is_worth_nothing():
    term = Term("labels", stream, loss=cross_entropy, groups=each_old_experience)
    student = nn.Linear(3, 6)
    engine = learnt(term, [{0: {0, 1, 2}}], student)
    found = engine.loss(student, torch.randn(4, 3), torch.tensor([0, 1, 2, 0]))
    assert found.parts["labels"].item() == 0
    found.backward()
    assert student.weight.grad.isfinite().all()
