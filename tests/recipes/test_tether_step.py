"""One step of tether, a sample at a time from its formula, in float64."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp
from torch import nn
from torch.nn import functional as F

from ckd import recipes
from ckd.objective import STREAM, Batch, Context, Question, memory
from ckd.part import Update
from ckd.views import Collage


def linear(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(3, 7, dtype=torch.float64)


def samples(n, experience, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, generator=generator, dtype=torch.float64), 2 * experience + torch.arange(n) % 2


def learnt(objective, past):
    """The objective in the experience after `past` others; the network ends experience e as linear(20 + e)."""
    for e in range(past + 1):
        x, y = samples(12, e, e)
        objective.begin(linear(10), {0: frozenset({2 * e, 2 * e + 1})}, per_task=False)
        objective.after_update(Update(linear(20 + e), x, y, None, linear(10 + e)(x).detach(), e))
        if e < past:
            objective.end(linear(20 + e))
    return objective


def ask(model, x):
    return (x @ model.weight.T + model.bias).detach().numpy()


def cross_entropy(z, labels):
    return np.mean([logsumexp(row) - row[label] for row, label in zip(z, labels, strict=True)])


@pytest.mark.parametrize("past", [1, 2])
@pytest.mark.parametrize("collage_of", [1, 2, 3])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_a_step_is_its_formula(past, collage_of, temperature):
    """Der++ on two draws, and λ T² KL(snapshot ‖ student) over old classes on collages of old samples."""
    weights = {"logit_weight": 0.2, "rehearsal_weight": 0.3, "distill_weight": 0.7, "decay": 0.0}
    sizes = {"memory_size": 40, "memory_batch_size": 20}
    objective = recipes.tether(temperature=temperature, collage_of=collage_of, **weights, **sizes)
    student, (x, y), known = linear(99), samples(8, past, 50), 2 * past
    learnt(objective, past)
    context = Context(past, 0, objective.classes, lambda m, x, t: m(x), lambda raw, g: raw)
    step = objective.step(Batch(x, y, None), context)
    view = Collage(collage_of) if collage_of > 1 else None
    assert step.questions == [Question(memory("a")), Question(memory("b")), Question(memory("c"), view)]
    for question in (STREAM, *step.questions):
        step.answer(question, student(step.batch(question).inputs))
    a, b, c = map(step.batch, step.questions)
    losses = step.losses()

    assert step.criterion(F.cross_entropy).item() == pytest.approx(cross_entropy(ask(student, x), y), rel=1e-10)
    stored = [ask(linear(10 + e), row) for row, e in zip(a.inputs, a.experiences.tolist(), strict=True)]
    wanted = 0.2 * np.square(ask(student, a.inputs) - np.array(stored)).mean()
    assert losses["logits"].item() == pytest.approx(wanted, rel=1e-10)
    wanted = 0.3 * cross_entropy(ask(student, b.inputs), b.targets)
    assert losses["labels"].item() == pytest.approx(wanted, rel=1e-10)
    wanted = 0.0
    for row, old, e in zip(ask(student, c.inputs), ask(linear(20 + past - 1), c.inputs), c.experiences, strict=True):
        if e < past:
            q, p = log_softmax(row[:known] / temperature), log_softmax(old[:known] / temperature)
            wanted += 0.7 * temperature**2 * (np.exp(p) * (p - q)).sum() / 20
    assert set(c.experiences.tolist()) == set(range(past + 1))
    assert torch.equal(c.inputs, step.batch(memory("c")).inputs) == (collage_of == 1)
    assert losses["distillation"].item() == pytest.approx(wanted, rel=1e-10)
