"""The loss of one step, computed one sample at a time from the formulas that the recipes name, in float64.

The stream brings two classes with each experience to a head of seven units, so one is always to come. A memory holds
samples of every past experience and of the one that runs.
"""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax, logsumexp, softmax
from torch import nn
from torch.nn import functional as F

from ckd import Engine, recipes
from ckd.objective import replay

WIDTH = 7
ALL = list(range(WIDTH))
SIZES = {"memory_size": 40, "memory_batch_size": 20}
PAST = pytest.mark.parametrize("past", [1, 2], ids=["second experience", "third"])


def linear(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(3, WIDTH, dtype=torch.float64)


def own(experience):
    """Its classes."""
    return [2 * experience, 2 * experience + 1]


def until(experience):
    """The classes of all experiences before it."""
    return list(range(2 * experience))


def samples(n, experience, seed):
    generator = torch.Generator().manual_seed(seed)
    x = 2 * torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return x, torch.tensor(own(experience)).repeat(n)[:n]


def become(student, seed):
    """Give the student the weights of linear(seed)."""
    student.load_state_dict(linear(seed).state_dict())


def learnt(objective, past):
    """The engine in the experience after `past` others, all of them in its memory, and the student.

    The network is linear(10 + e) when it meets experience e, linear(20 + e) when that ends.
    """
    engine, student = Engine(objective), linear(0)
    for experience in range(past + 1):
        x, y = samples(12, experience, experience)
        become(student, 10 + experience)
        engine.begin(own(experience))
        engine.loss(student, x, y)
        engine.after_update()
        if experience < past:
            become(student, 20 + experience)
            engine.end((x, y))
    return engine, student


def step_of(learner, past, n=8):
    """One step: its criterion and its terms in sum, and all that the sum is of, as arrays."""
    engine, student = learner
    become(student, 99)
    x, y = samples(n, past, 50)
    step = engine.step(student, x, y)
    engine.receive(student(step.inputs))
    criterion = step.criterion(F.cross_entropy).item()

    def drawn(name, experiences=range(past + 1)):
        batch = step.batch(replay(name))
        assert set(batch.experiences.tolist()) == set(experiences)
        return of(batch.inputs, batch.targets, batch.experiences)

    def of(x, y, experiences):
        x = x.numpy()
        return SimpleNamespace(x=x, y=y.numpy(), z=logits_of(student, x), e=experiences.numpy(), n=len(y))

    terms = {name: weight * value.item() for name, (weight, value) in step.values().items()}
    return SimpleNamespace(
        total=criterion + sum(terms.values()),
        criterion=criterion,
        terms=terms,
        stream=of(x, y, torch.full_like(y, past)),
        drawn=drawn,
        earlier=partial(drawn, experiences=range(past)),
    )


def logits_of(model, x):
    return x @ model.weight.detach().numpy().T + model.bias.detach().numpy()


def both(one, other):
    """Two batches as one."""
    joined = {name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in ("x", "y", "z", "e")}
    return SimpleNamespace(**joined, n=one.n + other.n)


def cross_entropy(batch, classes=ALL):
    """The mean of -log softmax over these classes; a sample of another class is worth 0."""
    values = [logsumexp(z[classes]) - z[y] if y in classes else 0.0 for z, y in zip(batch.z, batch.y, strict=True)]
    return sum(values) / batch.n


def when_seen(batch):
    """The logits given when the samples came."""
    return np.array([logits_of(linear(10 + e), x) for x, e in zip(batch.x, batch.e, strict=True)])


def equal(found, wanted):
    return found == pytest.approx(wanted, rel=1e-10)


@PAST
def test_fdr(past):
    """Cross entropy + α · mean ‖softmax - softmax when the sample's experience ended‖, over every unit of the head."""
    step = step_of(learnt(recipes.fdr(alpha=0.7, **SIZES), past), past)
    a, distances = step.earlier("a"), []
    for x, z, e in zip(a.x, a.z, a.e, strict=True):
        gap = softmax(z) - softmax(logits_of(linear(20 + e), x))
        distances.append(np.sqrt((gap**2).sum()))
    assert equal(step.total, cross_entropy(step.stream) + 0.7 * sum(distances) / a.n)


@PAST
@pytest.mark.parametrize("recipe", [recipes.fdr, recipes.x_der, recipes.ss_il, recipes.wa, recipes.bic])
def test_methods_that_fill_their_memory_at_boundaries_rehearse_earlier_experiences_alone(recipe, past):
    a = step_of(learnt(recipe(**SIZES), past), past).earlier("a")
    assert a.n > 10


class Given(nn.Module):
    """A network whose logits for the rows of its last forward pass can be changed and differentiated."""

    def __init__(self, model, change):
        super().__init__()
        self.model, self.change = model, change

    def forward(self, x):
        self.logits = self.change(x, self.model(x).detach()).requires_grad_()
        return self.logits


@pytest.mark.parametrize("new", own(1))
def test_fdr_pulls_down_a_class_that_came_later_where_it_rose(new):
    """Old samples have the logits of when their experience ended, but for one class of the next, whose rose by 2."""
    student = Given(linear(0), lambda x, z: z)
    engine = Engine(recipes.fdr(**SIZES))
    for e, (at_first, at_last) in enumerate(((10, 20), (11, 20))):
        x, y = samples(12, e, e)
        become(student.model, at_first)
        engine.begin(own(e))
        engine.loss(student, x, y)
        engine.after_update()
        become(student.model, at_last)
        if e == 0:
            engine.end()
    student.change = lambda x, z: z.index_add(1, torch.tensor([new]), torch.full((len(z), 1), 2.0, dtype=z.dtype))
    step = engine.step(student, *samples(8, 1, 50))
    engine.receive(student(step.inputs))
    batch = step.batch(replay("a"))
    assert set(batch.experiences.tolist()) == {0}
    (gradient,) = torch.autograd.grad(step.values()["distance"][1], student.logits)
    found, z = gradient[8:].numpy(), student.logits[8:].detach().numpy()
    q, p = softmax(logits_of(linear(20), batch.inputs.numpy()), axis=1), softmax(z, axis=1)
    towards = (p - q) / np.linalg.norm(p - q, axis=1, keepdims=True)
    wanted = p * (towards - (p * towards).sum(1, keepdims=True)) / len(p)
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-15)
    assert (found[:, new] > 0).all()
    assert (softmax(z - found, axis=1)[:, new] < p[:, new]).all()
    assert (gradient[:8] == 0).all()


@PAST
def test_ser(past):
    """Eq. 6: cross entropy on stream and memory, stored logits on the memory, the snapshot's on the stream."""
    step = step_of(learnt(recipes.ser(backward_weight=0.3, forward_weight=0.4, **SIZES), past), past)
    a, known = step.drawn("a"), until(past)
    backward = np.square(a.z - when_seen(a)).mean()
    forward = np.square(step.stream.z - logits_of(linear(20 + past - 1), step.stream.x))[:, known].mean()
    assert equal(step.total, cross_entropy(step.stream) + cross_entropy(a) + 0.3 * backward + 0.4 * forward)


@PAST
def test_ss_il(past):
    """Eq. 6: two softmaxes that never meet, and T² · KL over the classes of every past experience by itself."""
    step = step_of(learnt(recipes.ss_il(distill_weight=0.6, temperature=3.0, **SIZES), past), past)
    everything = both(step.stream, step.earlier("a"))
    separated = cross_entropy(everything, own(past)) + cross_entropy(everything, until(past))
    before, distillation = logits_of(linear(20 + past - 1), everything.x), 0.0
    for experience in range(past):
        log_p, log_q = (log_softmax(z[:, own(experience)] / 3, axis=1) for z in (before, everything.z))
        distillation += 9 * (np.exp(log_p) * (log_p - log_q)).sum() / everything.n
    assert equal(step.total, separated + 0.6 * distillation)


@PAST
@pytest.mark.parametrize(("recipe", "times"), [(recipes.wa, 9), (recipes.bic, 1)])
def test_wa_and_bic(recipe, times, past):
    """BiC's eq. 1: (1 - λ) · cross entropy + λ · KL over the old classes, λ their share; wa weighs it by T² more."""
    learner = learnt(recipe(temperature=3.0, **SIZES), past)
    step = step_of(learner, past)
    everything, old = both(step.stream, step.earlier("a")), until(past)
    snapshot = learner[0].objective.teachers["snapshot"].model
    before = snapshot(torch.tensor(everything.x)).detach().numpy()
    log_p, log_q = (log_softmax(z[:, old] / 3, axis=1) for z in (before, everything.z))
    distillation = (np.exp(log_p) * (log_p - log_q)).sum() / everything.n
    share = len(old) / len(until(past + 1))
    assert equal(step.criterion, (1 - share) * cross_entropy(everything))
    assert equal(step.terms["distillation"], share * times * distillation)


def rehearsed(step, alpha, beta):
    """The terms of DER++."""
    a, b = step.drawn("a"), step.drawn("b")
    return alpha * np.square(a.z - when_seen(a)).mean() + beta * cross_entropy(b)


@PAST
@pytest.mark.parametrize("between", [0.05, 3.0])
def test_lode(past, between):
    """Eq. 3 to 6: which of the new classes, and new or old, the second weighed by ρ · new classes / old classes."""
    objective = recipes.lode(within=0.8, between=between, alpha=0.3, beta=0.4, **SIZES)
    step = step_of(learnt(objective, past), past)
    among = np.mean([logsumexp(z[own(past)]) - z[y] for z, y in zip(step.stream.z, step.stream.y, strict=True)])
    new_or_old = np.mean([logsumexp(z[until(past + 1)]) - logsumexp(z[own(past)]) for z in step.stream.z])
    ratio = len(own(past)) / len(until(past))
    assert equal(step.total, 0.8 * among + between * ratio * new_or_old + rehearsed(step, 0.3, 0.4))


@PAST
def test_lode_with_equal_weights_is_cross_entropy_over_the_classes_seen(past):
    step = step_of(learnt(recipes.lode(within=1.0, between=float(past), **SIZES), past), past)
    assert equal(step.total - rehearsed(step, 0.5, 0.5), cross_entropy(step.stream, until(past + 1)))


def bounded(logits, truth, classes, gamma):
    """Logits by class, scaled by γ · truth / the largest where that exceeds the truth; and the factor."""
    largest = logits[classes].max()
    factor = min(1.0, max(0.0, gamma * truth / largest)) if largest > truth else 1.0
    return {c: factor * logits[c] for c in classes}, factor


@PAST
def test_x_der(past):
    """Stored logits, a softmax for old and for current classes, a margin.

    Stored logits are bounded by that of the true class, those of classes before its own experience and those of every
    later one.
    """
    objective = recipes.x_der(alpha=0.3, beta=0.7, gamma=0.8, priority_weight=0.2, margin=0.4, seed=1, **SIZES)
    step = step_of(learnt(objective, past), past)
    a, b, new = step.earlier("a"), step.earlier("b"), own(past)
    matched, factors = 0.0, {"earlier": [], "later": []}
    for x, y, z, e in zip(a.x, a.y, a.z, a.e, strict=True):
        then = logits_of(linear(20 + e), x)
        target = {c: then[c] for c in own(e)}
        if e > 0:
            values, factor = bounded(then, then[y], until(e), 0.8)
            target.update(values)
            factors["earlier"].append(factor)
        for later in range(e + 1, past + 1):
            now = z if later == past else logits_of(linear(20 + later), x)
            values, factor = bounded(now, then[y], own(later), 0.8)
            target.update(values)
            factors["later"].append(factor)
        assert sorted(target) == until(past + 1)
        matched += np.mean([(z[c] - value) ** 2 for c, value in target.items()]) / a.n
    for found in (factors["later"], *([factors["earlier"]] if past > 1 else [])):
        assert any(factor < 1 for factor in found)
        assert any(factor == 1 for factor in found)
    assert any(0 < factor < 1 for factor in factors["later"])
    p = softmax(step.stream.z, axis=1)
    margins = np.maximum(0, 0.4 + np.delete(p, new, axis=1).max(1) - p[:, new].max(1))
    assert margins.any()
    wanted = cross_entropy(step.stream, new) + 0.3 * matched + 0.7 * cross_entropy(b, until(past))
    assert equal(step.total, wanted + 0.2 * margins.mean())


def adjusted(batch, strength):
    """The mean of -log softmax(z + τ log n), n the number of each class in the batch; those absent are out."""
    labels, counts = np.unique(batch.y, return_counts=True)
    values = []
    for z, y in zip(batch.z, batch.y, strict=True):
        weighed = counts**strength * np.exp(z[labels])
        values.append(-np.log(weighed[labels == y] / weighed.sum())[0])
    assert len(set(counts)) > 1
    return np.mean(values)


@PAST
def test_er_las(past):
    """Logits adjusted for the classes in the batch of stream and memory."""
    step = step_of(learnt(recipes.er_las(strength=0.8, **SIZES), past), past)
    assert equal(step.total, adjusted(both(step.stream, step.drawn("a")), 0.8))


@PAST
@pytest.mark.parametrize("of_average", [1, 0])
def test_ballast(past, of_average):
    """Adjusted logits, and T² · KL over old classes on stream and memory with their share as its weight; stored logits.

    The average of an experience of one step is the student as it was at that step, not as it was when that ended.
    """
    objective = recipes.ballast(
        strength=0.8,
        window=1,
        warm_up=0,
        herded=0,
        distill_weight=0.6,
        temperature=3.0,
        snapshot_of_average=of_average,
        logit_weight=0.3,
        **SIZES,
    )
    step = step_of(learnt(objective, past), past)
    a = step.drawn("a")
    everything, known = both(step.stream, a), until(past)
    before = logits_of(linear((10 if of_average else 20) + past - 1), everything.x)
    log_p, log_q = (log_softmax(z[:, known] / 3, axis=1) for z in (before, everything.z))
    distillation = 9 * (np.exp(log_p) * (log_p - log_q)).sum() / everything.n
    matched = np.square(a.z - when_seen(a)).mean()
    assert equal(step.total, adjusted(everything, 0.8) + 0.6 * past / (past + 1) * distillation + 0.3 * matched)


@PAST
def test_lwf_mc(past):
    """Binary cross entropy of every class seen: with the label where it is new, with the old sigmoid where not."""
    step = step_of(learnt(recipes.lwf_mc(), past), past)
    total = 0.0
    for x, y, z in zip(step.stream.x, step.stream.y, step.stream.z, strict=True):
        before = expit(logits_of(linear(20 + past - 1), x))
        for c in until(past + 1):
            q, p = expit(z[c]), before[c] if c in until(past) else float(c == y)
            total -= (p * np.log(q) + (1 - p) * np.log(1 - q)) / step.stream.n
    assert equal(step.total, total)


# the first experience ----------------------------------------------------------------------------------------------


def test_in_the_first_experience_lode_is_cross_entropy_and_rehearsal():
    step = step_of(learnt(recipes.lode(between=5.0, **SIZES), 0), 0)
    assert equal(step.criterion, cross_entropy(step.stream, own(0)))
    assert "whole" not in step.terms
    assert equal(step.total, cross_entropy(step.stream, own(0)) + rehearsed(step, 0.5, 0.5))


def test_in_the_first_experience_ss_il_is_cross_entropy():
    step = step_of(learnt(recipes.ss_il(**SIZES), 0), 0)
    assert step.terms == {}
    assert equal(step.total, cross_entropy(step.stream, own(0)))


def test_in_the_first_experience_ser_only_rehearses():
    step = step_of(learnt(recipes.ser(**SIZES), 0), 0)
    a = step.drawn("a")
    backward = np.square(a.z - when_seen(a)).mean()
    assert equal(step.total, cross_entropy(step.stream) + cross_entropy(a) + 0.2 * backward)


def test_in_the_first_experience_fdr_is_cross_entropy():
    step = step_of(learnt(recipes.fdr(**SIZES), 0), 0)
    assert step.terms == {}
    assert equal(step.total, cross_entropy(step.stream))


def test_in_the_first_experience_x_der_is_cross_entropy_over_its_classes_and_the_margin():
    step = step_of(learnt(recipes.x_der(priority_weight=0.1, **SIZES), 0), 0)
    assert set(step.terms) == {"priority"}
    p = softmax(step.stream.z, axis=1)
    margins = np.maximum(0, 0.3 + p[:, 2:].max(1) - p[:, :2].max(1))
    assert equal(step.total, cross_entropy(step.stream, own(0)) + 0.1 * margins.mean())


def test_in_the_first_experience_lwf_mc_is_binary_cross_entropy_with_the_labels():
    step = step_of(learnt(recipes.lwf_mc(), 0), 0)
    q, is_label = expit(step.stream.z[:, :2]), step.stream.y[:, None] == [0, 1]
    assert equal(step.total, -np.log(np.where(is_label, q, 1 - q)).sum() / step.stream.n)


def test_with_an_empty_memory_er_las_counts_the_stream():
    step = step_of(begun(recipes.er_las(**SIZES)), 0, n=5)
    weighed = np.array([3, 2]) * np.exp(step.stream.z[:, :2])
    probability = weighed[np.arange(5), step.stream.y] / weighed.sum(1)
    assert equal(step.total, -np.log(probability).mean())


def begun(objective):
    """In its first experience, before the first sample, and the student."""
    engine = Engine(objective)
    engine.begin(own(0))
    return engine, linear(0)
