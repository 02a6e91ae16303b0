"""MKD beside a loop of plain torch, and one step from its formula."""

import copy

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from torch import nn
from torch.nn import functional as F

from ckd import Engine, recipes
from ckd.errors import ConfigError
from ckd.objective import Shown, replay, stream, union
from ckd.views import RandomResizedCrop

VIEW = RandomResizedCrop(0.3, 0.0)
BOTH = union(replay("a"))


def network():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 4))
    return model.double()


def images(i, n=10):
    generator = torch.Generator().manual_seed(i)
    return torch.randn(n, 1, 6, 6, dtype=torch.float64, generator=generator), torch.arange(n) % 2 + 2 * (i > 4)


def test_its_weights_and_its_prediction_are_those_of_a_loop_in_torch():
    """The loop takes from the engine only what was drawn: the memory's samples and the second view."""
    objective = recipes.mkd(memory_size=20, distill_weight=5.5, temperature=4.0, decay=0.7, min_scale=0.3, flip=0.0)
    engine, student, own = Engine(objective), network(), network()
    teacher = copy.deepcopy(own)
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.05) for model in (student, own)]
    for i in range(8):
        if i == 5:
            engine.end()
        if i in (0, 5):
            engine.begin([0, 1] if i == 0 else [2, 3])
        x, y = images(i)
        engine.loss(student, x, y).backward()
        step = engine._step
        draw = stream if i == 0 else BOTH
        drawn, second = step.batch(draw), step.batch(Shown(draw, VIEW))
        assert len(drawn.targets) == len(second.targets) == (10 if i == 0 else 20)

        own.train()
        teacher.eval()
        n = len(drawn.targets)
        logits = own(torch.cat([drawn.inputs, second.inputs]))
        told = F.softmax(teacher(second.inputs).detach() / 4, 1)
        loss = F.cross_entropy(logits[n:], drawn.targets)
        for view in (logits[n:], logits[:n]):
            log = F.log_softmax(view / 4, 1)
            loss = loss + 5.5 / 2 * 16 * F.kl_div(log, told, reduction="batchmean")
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        engine.after_update(optimizers[0])
        share = 1 - min(0.7, 1 - 1 / (i + 2), 1 if i < 5 else 1 - 2 / 5)
        with torch.no_grad():
            for mine, its in zip(teacher.state_dict().values(), own.state_dict().values(), strict=True):
                if mine.is_floating_point():
                    mine += share * (its - mine)
        for mine, its in zip(student.state_dict().values(), own.state_dict().values(), strict=True):
            assert torch.allclose(mine, its, rtol=1e-9, atol=1e-12)
    predicts = engine.evaluation_model(student).state_dict()
    for name, value in own.state_dict().items():
        if value.is_floating_point():
            assert torch.allclose(predicts[name], (value + teacher.state_dict()[name]) / 2, rtol=1e-9, atol=1e-12)


def test_where_samples_are_no_images_both_views_are_one():
    engine, student = Engine(recipes.mkd(distill_weight=3.0, temperature=2.0)), nn.Linear(5, 3, dtype=torch.float64)
    engine.begin(range(3))
    x, y = torch.randn(12, 5, dtype=torch.float64), torch.arange(12) % 3
    optimizer = torch.optim.SGD(student.parameters(), lr=1.0)
    engine.loss(student, x, y).backward()
    optimizer.step()
    engine.after_update(optimizer)
    step = engine.step(student, x, y)
    engine.receive(student(step.inputs))
    average = engine.objective.teachers["ema"].model(step.batch(BOTH).inputs).numpy()
    z = student(step.batch(BOTH).inputs).detach().numpy()
    p, log_q = softmax(average / 2, axis=1), log_softmax(z / 2, axis=1)
    wanted = 1.5 * 4 * (p * (np.log(p) - log_q)).sum(1).mean()
    for weight, value in step.values().values():
        assert weight * value.item() == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize("setting", [{"temperature": 0.0}, {"min_scale": 0.0}, {"share": 2.0}, {"decay": 1.0}])
def test_what_cannot_work_is_refused(setting):
    with pytest.raises(ConfigError):
        recipes.mkd(**setting)
