"""Logits with a class for each token or pixel: every loss is that of the same places in a flat batch."""

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ckd import Engine, Fixed, Memory, Objective, Term
from ckd.classes import ClassSet
from ckd.losses import cross_entropy, kd, logit_mse
from ckd.objective import (
    all_classes,
    current,
    each_old_experience,
    old,
    old_or_current,
    present,
    replay,
    seen,
    stored_logits,
    stream,
    teacher,
)
from ckd.objective.batch import Batch
from ckd.objective.class_axis import batch_by_place, beside, by_place, by_sample, mask_by_place, n_classes, places

C, D = 6, 4
SHAPES = {"tokens": (3,), "pixels": (2, 5)}
EACH = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


class Everywhere(nn.Linear):
    """One linear layer for every place: inputs (B, D), (B, T, D) or (B, D, H, W), and logits of the same kind."""

    def __init__(self, seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            super().__init__(D, C, dtype=torch.float64)

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1) if x.dim() == 4 else super().forward(x)


def inputs(shape, n=5, seed=0, low=0, high=C):
    """Inputs and labels, placed, and the same flat."""
    generator = torch.Generator().manual_seed(seed)
    flat = torch.randn(n, *shape, D, generator=generator, dtype=torch.float64)
    y = torch.randint(low, high, (n, *shape), generator=generator)
    placed = flat.movedim(-1, 1) if len(shape) == 2 else flat
    return placed, y, flat.flatten(0, -2), y.flatten()


def halves(moment, batch, width):
    first = torch.arange(width) < 3
    return [first, ~first]


def own_of_each(moment, batch, width):
    """A mask for each row: its label and the next class."""
    rows = torch.zeros(len(batch.targets), width, dtype=torch.bool)
    return [rows.scatter(1, torch.stack([batch.targets, (batch.targets + 1) % width], 1), True)]


GROUPS = [all_classes, seen, old, current, present, old_or_current, each_old_experience, halves, own_of_each]


def losses_of(terms, x, y, teachers=None, criterion=None):
    """The losses of a step in the third experience, and the student's gradient."""
    objective = Objective("x", terms, teachers=teachers, criterion=criterion)
    engine, student = Engine(objective), Everywhere(0)
    for i, classes in enumerate(([0, 1], [2], [3, 4])):
        engine.begin(classes)
        found = engine.loss(student, x, y)
        if i < 2:
            engine.end()
    found.backward()
    return {name: value.item() for name, value in found.parts.items()}, student.weight.grad, found.logits


def assert_same(placed, flat):
    assert placed[0] == pytest.approx(flat[0], rel=1e-10)
    assert torch.allclose(placed[1], flat[1], rtol=1e-9, atol=1e-14)
    assert torch.allclose(by_place(placed[2]), flat[2])


@EACH
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_labels_with_groups(shape, group):
    x, y, flat_x, flat_y = inputs(shape, high=5)
    terms = [Term("ce", loss=cross_entropy, groups=group)]
    found = losses_of(terms, x, y)
    assert_same(found, losses_of(terms, flat_x, flat_y))
    assert found[0]["ce"] != 0


@EACH
@pytest.mark.parametrize("group", [all_classes, seen, old, halves], ids=lambda group: group.__name__)
@pytest.mark.parametrize("known", [None, [0, 2, 3, 5], [4]], ids=str)
def test_distillation_from_a_fixed_teacher_with_the_classes_that_it_knows(shape, group, known):
    x, y, flat_x, flat_y = inputs(shape, high=5)
    terms = [
        Term("kd", target=teacher("t"), loss=partial(kd, temperature=3.0), groups=group),
        Term("mse", target=teacher("t"), loss=logit_mse, groups=group),
    ]
    network = Everywhere(1)
    placed, flat = (
        losses_of(terms, *data, teachers={"t": Fixed(network, classes=known)}) for data in ((x, y), (flat_x, flat_y))
    )
    assert_same(placed, flat)
    if group is all_classes:
        chosen = slice(None) if known is None else known
        p, q = ((model(flat_x)[:, chosen] / 3).log_softmax(1) for model in (network, Everywhere(0)))
        if known is None or len(known) > 1:
            assert placed[0]["kd"] == pytest.approx(9 * (p.exp() * (p - q)).sum(1).mean().item(), rel=1e-9)


@EACH
def test_the_criterion_of_the_objective_and_the_usual_one(shape):
    x, y, flat_x, flat_y = inputs(shape, high=5)
    student = Everywhere(0)
    wanted = F.cross_entropy(student(flat_x), flat_y).item()
    for criterion in (None, Term("criterion", loss=cross_entropy), Term("criterion", weight=1.0)):
        found = losses_of([], x, y, criterion=criterion)
        assert found[0]["criterion"] == pytest.approx(wanted, rel=1e-12)
        assert_same(found, losses_of([], flat_x, flat_y, criterion=criterion))


def test_tokens_are_not_taken_for_classes_where_there_are_as_many():
    """torch's own cross entropy would read (B, T, C) as (B, C, T)."""
    x, y, flat_x, flat_y = inputs((C,), high=5)
    found = losses_of([], x, y)
    assert found[0]["criterion"] == pytest.approx(F.cross_entropy(Everywhere(0)(flat_x), flat_y).item(), rel=1e-12)


@EACH
def test_the_loss_of_a_sample_is_the_mean_of_its_places(shape):
    x, _, flat_x, flat_y = inputs(shape, high=5)
    per_place = F.cross_entropy(Everywhere(0)(flat_x), flat_y, reduction="none")
    logits, n = Everywhere(0)(x), len(flat_y) // 5
    assert (places(logits), n_classes(logits)) == (n, C)
    wanted = [per_place[i * n : (i + 1) * n].mean().item() for i in range(5)]
    assert by_sample(per_place, logits).tolist() == pytest.approx(wanted)


@EACH
def test_masks_go_with_their_places(shape):
    logits = Everywhere(0)(inputs(shape)[0])
    n = places(logits)
    shared, each = torch.rand(C) < 0.5, torch.rand(5, C) < 0.5
    like_logits = torch.rand(logits.shape) < 0.5
    assert mask_by_place(None, logits) is None
    assert mask_by_place(shared, logits) is shared
    assert torch.equal(mask_by_place(each, logits), torch.cat([row.expand(n, C) for row in each]))
    assert torch.equal(mask_by_place(like_logits, logits), by_place(like_logits))
    for mask in (shared, each):
        found = by_place(beside(mask, logits).expand_as(logits))
        assert torch.equal(found, mask_by_place(mask, logits).expand(5 * n, C))


# from memory ---------------------------------------------------------------------------------------------------------


def terms_of_a_replay(network):
    terms = [
        Term("labels", replay("a"), loss=cross_entropy, groups=seen),
        Term("logits", replay("b"), stored_logits, logit_mse),
        Term("past", replay("a"), teacher("t", past_only=True), kd),
        Term("all", stream, teacher("t"), kd, groups=present),
    ]
    return Objective("x", terms, memory=Memory(8), teachers={"t": Fixed(network, classes=[0, 1, 2, 3])})


def name(sample):
    """One number that no other sample has."""
    return sample.flatten()[0].item()


@EACH
@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("active", [None, [0, 1, 2, 3, 4]], ids=["every unit", "inactive units"])
def test_samples_are_stored_and_replayed_with_their_logits(shape, joint, active):
    """Two experiences, and each step's terms against the flat sum over what was drawn."""
    network, student = Everywhere(1), Everywhere(0)
    engine, then = Engine(terms_of_a_replay(network), joint=joint), {}
    optimizer, compared = torch.optim.SGD(student.parameters(), lr=0.1), 0
    for e, classes in enumerate(([0, 1, 2], [3, 4])):
        units = None if active is None else ClassSet({0: frozenset(active)})
        engine.begin(classes, active=units)
        for i in range(3):
            x, y, *_ = inputs(shape, n=4, seed=10 * e + i, low=classes[0], high=classes[-1] + 1)
            step = engine.step(student, x, y)
            logits = engine.receive(student(step.inputs))
            values = step.values()
            then.update({name(one): by_place(own[None].detach()) for one, own in zip(x, logits, strict=True)})
            if "labels" in values:
                assert_terms(step, values, student, network, then, active, e)
                compared += 1
            optimizer.zero_grad()
            torch.stack([step.criterion(engine.criterion), *(value for _, value in values.values())]).sum().backward()
            optimizer.step()
            engine.after_update(optimizer)
        engine.end()
    assert compared == 5
    assert engine.objective.memory.rows.targets.shape == (8, *shape)


def assert_terms(step, values, student, network, then, active, experience):
    a, b = step.batch(replay("a")), step.batch(replay("b"))
    z = by_place(student(a.inputs))
    seen_now = [0, 1, 2] if experience == 0 else [0, 1, 2, 3, 4]
    wanted = F.cross_entropy(z[:, seen_now], a.targets.flatten())
    assert values["labels"][1].item() == pytest.approx(wanted.item(), rel=1e-9)
    stored = torch.cat([then[name(one)] for one in b.inputs])
    units = list(range(C)) if active is None else active
    wanted = (by_place(student(b.inputs)) - stored)[:, units].square().mean()
    assert values["logits"][1].item() == pytest.approx(wanted.item(), rel=1e-9)
    is_past = (a.experiences < experience).repeat_interleave(len(z) // len(a.targets))
    p, q = ((by_place(model(a.inputs))[:, :4] / 2).log_softmax(1) for model in (network, student))
    wanted = (4 * (p.exp() * (p - q)).sum(1) * is_past).mean()
    assert values["past"][1].item() == pytest.approx(wanted.item(), rel=1e-9, abs=1e-12)


@EACH
def test_a_batch_of_one_sample_has_its_places(shape):
    placed = inputs(shape, n=1)[0]
    assert places(Everywhere(0)(placed)) == math.prod(shape)


@EACH
def test_task_labels_go_with_their_places(shape):
    batch = Batch(torch.zeros(2, 1), torch.arange(2 * math.prod(shape)).view(2, *shape), torch.tensor([4, 7]))
    placed = batch_by_place(batch, Everywhere(0)(inputs(shape, n=2)[0]))
    assert placed.tasks.tolist() == [4] * math.prod(shape) + [7] * math.prod(shape)
    assert placed.targets.tolist() == list(range(2 * math.prod(shape)))
