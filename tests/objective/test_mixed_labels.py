"""Mixed samples whose labels are mixed too: λ CE(y) + (1 - λ) CE(y'), with λ and y' read off the mixed inputs."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ckd import Engine, Fixed, Memory, Objective, Term
from ckd.losses import cross_entropy, kd
from ckd.memory import Rows
from ckd.objective import Shown, present, replay, seen, stream, teacher, union
from ckd.views import Chain, Mixup, Noise, anyone

MIXUP = Mixup(labels=True)
WIDTH = 6


def stepped(objective):
    """A step on classes 0 to 4 of 6, and the student."""
    engine, student = Engine(objective), nn.Linear(3, WIDTH, dtype=torch.float64)
    engine.begin(range(5))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(10, 3, generator=generator, dtype=torch.float64)
    step = engine.step(student, x, torch.arange(10) % 5)
    engine.receive(student(step.inputs))
    return step, student


def remembered():
    filled, n = Memory(10), torch.arange(10)
    generator = torch.Generator().manual_seed(1)
    filled.add(Rows(torch.randn(10, 3, generator=generator, dtype=torch.float64), n % 5, 0 * n, n // 5))
    return filled


def ingredients(mixed, batch):
    """For each mixed sample its share λ of the sample in the same row, and the label of the other one."""
    found = []
    for i, row in enumerate(mixed):
        for j in range(len(batch.inputs)):
            own, other = batch.inputs[i], batch.inputs[j]
            share = ((row - other) @ (own - other) / (own - other).square().sum()).item() if j != i else torch.nan
            if j != i and torch.allclose(share * own + (1 - share) * other, row, rtol=0, atol=1e-9):
                found.append((share, int(batch.targets[j])))
                break
    assert len(found) == len(mixed)
    assert all(0 <= share <= 1 for share, _ in found)
    assert len({round(share, 6) for share, _ in found}) == len(mixed)
    return found


def mean_of(z, batch, shares, classes=slice(None)):
    """λ CE(y) + (1 - λ) CE(y'), the mean over the samples."""
    log_p = torch.full_like(z, torch.nan)
    log_p[:, classes] = z[:, classes].log_softmax(1)
    rows = zip(log_p, batch.targets.tolist(), shares, strict=True)
    return sum(-(share * p[y] + (1 - share) * p[other]) for p, y, (share, other) in rows).item() / len(z)


@pytest.mark.parametrize("draw", [stream, replay("a"), union(replay("a"))], ids=str)
@pytest.mark.parametrize("partners", [None, anyone])
def test_the_cross_entropy_of_mixed_labels(draw, partners):
    view = MIXUP if partners is None else Mixup(partners, labels=True)
    step, student = stepped(Objective("x", [Term("mix", draw, loss=cross_entropy, view=view)], memory=remembered()))
    mixed, batch = step.batch(Shown(draw, view)), step.batch(draw)
    shares = ingredients(mixed.inputs, batch)
    wanted = mean_of(student(mixed.inputs), batch, shares)
    assert step.values()["mix"][1].item() == pytest.approx(wanted, rel=1e-10)
    plain = F.cross_entropy(student(mixed.inputs), batch.targets).item()
    assert step.values()["mix"][1].item() != pytest.approx(plain, rel=1e-6)


@pytest.mark.parametrize(("group", "classes"), [(seen, range(5)), (present, range(5))])
def test_groups_restrict_the_softmax(group, classes):
    step, student = stepped(Objective("x", [Term("mix", loss=cross_entropy, view=MIXUP, groups=group)]))
    mixed = step.batch(Shown(stream, MIXUP))
    shares = ingredients(mixed.inputs, step.stream)
    wanted = mean_of(student(mixed.inputs), step.stream, shares, list(classes))
    assert step.values()["mix"][1].item() == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize("loss", [None, cross_entropy])
def test_the_criterion_may_be_shown_mixtures_too(loss):
    """With the training loop's own criterion as with a loss: it gets the labels as probabilities."""
    step, student = stepped(Objective("x", criterion=Term("criterion", loss=loss, view=MIXUP)))
    mixed = step.batch(Shown(stream, MIXUP))
    shares = ingredients(mixed.inputs, step.stream)
    wanted = mean_of(student(mixed.inputs), step.stream, shares)
    assert step.criterion(nn.CrossEntropyLoss()).item() == pytest.approx(wanted, rel=1e-10)
    assert Engine(Objective("y")).criterion(student(mixed.inputs), mixed.probabilities(WIDTH)).item() == pytest.approx(
        wanted, rel=1e-10
    )


def test_a_teacher_is_shown_the_same_mixture():
    fixed = nn.Linear(3, WIDTH, dtype=torch.float64)
    terms = [
        Term("mix", replay("a"), loss=cross_entropy, view=MIXUP),
        Term("kd", replay("a"), teacher("t"), kd, view=MIXUP),
    ]
    step, student = stepped(Objective("x", terms, memory=remembered(), teachers={"t": Fixed(fixed)}))
    assert step.plan.shown == [Shown(replay("a"), MIXUP)]
    mixed = step.batch(Shown(replay("a"), MIXUP)).inputs
    p, q = ((model(mixed) / 2).log_softmax(1) for model in (fixed, student))
    assert step.values()["kd"][1].item() == pytest.approx(4 * (p.exp() * (p - q)).sum(1).mean().item(), rel=1e-9)


def test_in_a_chain_the_labels_stay_mixed():
    view = Chain((MIXUP, Noise(1e-12)))
    step, student = stepped(Objective("x", [Term("mix", loss=cross_entropy, view=view)]))
    mixed = step.batch(Shown(stream, view))
    wanted = mean_of(student(mixed.inputs), step.stream, ingredients(mixed.inputs, step.stream))
    assert step.values()["mix"][1].item() == pytest.approx(wanted, rel=1e-9)
