"""One step of tether, a sample at a time from its formula, in float64."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp
from torch import nn
from torch.nn import functional as F

from ckd import Engine, recipes
from ckd.objective import Shown, replay
from ckd.views import Collage


def linear(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(3, 7, dtype=torch.float64)


def samples(n, experience, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, generator=generator, dtype=torch.float64), 2 * experience + torch.arange(n) % 2


def become(student, seed):
    """Give the student the weights of linear(seed)."""
    student.load_state_dict(linear(seed).state_dict())


def learnt(objective, past, student):
    """The engine in the experience after `past` others.

    The network is linear(10 + e) when it meets experience e, linear(20 + e) when that ends.
    """
    engine = Engine(objective)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.0)
    for e in range(past + 1):
        x, y = samples(12, e, e)
        engine.begin([2 * e, 2 * e + 1])
        become(student, 10 + e)
        engine.loss(student, x, y)
        become(student, 20 + e)
        engine.after_update(optimizer)
        if e < past:
            engine.end((x, y))
    return engine


def logits_of(model, x):
    return (x @ model.weight.T + model.bias).detach().numpy()


def cross_entropy(z, labels):
    return np.mean([logsumexp(row) - row[label] for row, label in zip(z, labels, strict=True)])


@pytest.mark.parametrize("past", [1, 2])
@pytest.mark.parametrize("collage_of", [1, 2, 3])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_a_step_is_its_formula(past, collage_of, temperature):
    """DER++ on two draws, and λ T² KL(snapshot ‖ student) over old classes on collages of old samples."""
    weights = {"logit_weight": 0.2, "rehearsal_weight": 0.3, "distill_weight": 0.7, "decay": 0.0}
    sizes = {"memory_size": 40, "memory_batch_size": 20}
    objective = recipes.tether(temperature=temperature, collage_of=collage_of, **weights, **sizes)
    student, (x, y), known = linear(0), samples(8, past, 50), 2 * past
    engine = learnt(objective, past, student)
    become(student, 99)
    step = engine.step(student, x, y)
    view = Collage(collage_of) if collage_of > 1 else None
    assert step.plan.shown == [Shown(replay("a")), Shown(replay("b")), Shown(replay("c"), view)]
    engine.receive(student(step.inputs))
    a, b, c = map(step.batch, step.plan.shown)
    losses = {name: weight * value for name, (weight, value) in step.values().items()}

    assert step.criterion(F.cross_entropy).item() == pytest.approx(cross_entropy(logits_of(student, x), y), rel=1e-10)
    stored = [logits_of(linear(10 + e), row) for row, e in zip(a.inputs, a.experiences.tolist(), strict=True)]
    wanted = 0.2 * np.square(logits_of(student, a.inputs) - np.array(stored)).mean()
    assert losses["logits"].item() == pytest.approx(wanted, rel=1e-10)
    wanted = 0.3 * cross_entropy(logits_of(student, b.inputs), b.targets)
    assert losses["labels"].item() == pytest.approx(wanted, rel=1e-10)
    wanted = 0.0
    for row, old, e in zip(
        logits_of(student, c.inputs), logits_of(linear(20 + past - 1), c.inputs), c.experiences, strict=True
    ):
        if e < past:
            q, p = log_softmax(row[:known] / temperature), log_softmax(old[:known] / temperature)
            wanted += 0.7 * temperature**2 * (np.exp(p) * (p - q)).sum() / 20
    assert set(c.experiences.tolist()) == set(range(past + 1))
    assert torch.equal(c.inputs, step.batch(replay("c")).inputs) == (collage_of == 1)
    assert losses["distillation"].item() == pytest.approx(wanted, rel=1e-10)
