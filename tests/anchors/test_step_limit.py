"""A bound on how far one step goes, against norms taken by hand."""

import numpy as np
import pytest
import torch
from shared import assert_plain
from torch import nn

from ckd import Engine, Objective, recipes
from ckd.anchors import StepLimit
from ckd.errors import ConfigError


def norm(gradients):
    return float(np.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients)))


def gradients(scale, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(shape, generator=g) for shape in ((3, 4), (4,), ())]


@pytest.mark.parametrize("factor", [1.5, 3.0])
def test_a_gradient_is_scaled_down_to_the_factor_times_the_largest_median_so_far(factor):
    limit, noted, median, bounded = StepLimit(factor, window=20), [], 0.0, 0
    scales = np.random.default_rng(0).lognormal(0, 1, 60) * np.repeat([1.0, 0.1, 1.0], 20)
    for i, scale in enumerate(scales):
        found = gradients(float(scale), i)
        before, copies = norm(found), [g.clone() for g in found]
        limit.bound(found)
        if i >= 10:
            median = max(median, np.sort(noted[-20:])[(len(noted[-20:]) - 1) // 2])
        bound = factor * median if median else np.inf
        assert norm(found) == pytest.approx(min(before, bound), rel=1e-5)
        ratio = min(1.0, bound / before)
        assert all(torch.allclose(g, ratio * c, rtol=1e-5) for g, c in zip(found, copies, strict=True))
        noted.append(min(before, bound))
        bounded += bound < before
    assert 0 < bounded < 30


def test_without_gradients_nothing_is_noted():
    limit = StepLimit()
    limit.bound([])
    assert limit.state_dict()["steps"] == 0
    assert limit.nbytes() == {"norms": 4}


def test_after_steps_without_a_slope_there_is_no_limit():
    limit = StepLimit()
    for _ in range(15):
        limit.bound(flat := [torch.zeros(3)])
        assert torch.equal(flat[0], torch.zeros(3))
    limit.bound(steep := [torch.ones(3)])
    assert torch.equal(steep[0], torch.ones(3))


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
@pytest.mark.parametrize("when", [0, 5, 15])
def test_a_step_that_overflows_does_not_end_the_limit(odd, when):
    """As with float16, whose steps a scaler skips where gradients are not finite."""
    limit = StepLimit(2.0)
    for i in range(30):
        limit.bound([torch.full((3,), odd if i == when else 1.0)])
    limit.bound(steep := [torch.full((3,), 100.0)])
    torch.testing.assert_close(steep[0], torch.full((3,), 2.0))
    assert limit.state_dict()["norms"].isfinite().all()


def test_it_acts_at_the_end_of_the_backward_pass_of_the_engines_loss():
    student, x, y = nn.Linear(3, 2), torch.randn(8, 3), torch.arange(8) % 2
    engine = Engine(Objective("x", limit=StepLimit(2.0)))
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    engine.begin([0, 1])
    for i in range(15):
        optimizer.zero_grad()
        engine.loss(student, x, y).backward()
        norms = norm(p.grad for p in student.parameters())
        if i == 13:
            usual = norms
        engine.after_update(optimizer)
    optimizer.zero_grad()
    engine.loss(student, 100 * x, y).backward()
    assert norm(p.grad for p in student.parameters()) == pytest.approx(2 * usual, rel=0.05)


def test_its_state_is_plain_and_goes_on_alike():
    one, other = StepLimit(), StepLimit()
    for i in range(12):
        one.bound(gradients(1.0, i))
    assert_plain(one.state_dict())
    other.load_state_dict(one.state_dict(), None)
    for i in range(5):
        mine, its = gradients(10.0, i), gradients(10.0, i)
        one.bound(mine)
        other.bound(its)
        assert all(torch.equal(a, b) for a, b in zip(mine, its, strict=True))


@pytest.mark.parametrize("limit", [0.0, 2.0])
def test_a_rate_that_is_far_too_high_destroys_the_network_without_it(limit):
    """Inputs whose mean is not zero, as those of inverted images, make the loss curve sharply along it."""
    torch.manual_seed(0)
    x = torch.randn(600, 40)
    y = (x[:, :3] @ torch.randn(3, 4)).argmax(1)
    x += 1
    student = nn.Sequential(nn.Linear(40, 20), nn.ReLU(), nn.Linear(20, 4))
    objective = recipes.naive().extend(limit=StepLimit(limit) if limit else None)
    engine, optimizer = Engine(objective), torch.optim.SGD(student.parameters(), lr=1.0)
    engine.begin(range(4))
    for _ in range(8):
        for bx, by in zip(x.split(20), y.split(20), strict=True):
            optimizer.zero_grad()
            engine.loss(student, bx, by).backward()
            optimizer.step()
            engine.after_update(optimizer)
    right = (student(x).argmax(1) == y).float().mean()
    share = y.bincount().max() / len(y)
    assert right > share + 0.2 if limit else right < share + 0.05


def test_a_network_that_has_learnt_all_of_an_easy_experience_learns_the_next():
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(20, 50), nn.BatchNorm1d(50), nn.ReLU(), nn.Linear(50, 4))
    engine = Engine(recipes.naive().extend(limit=StepLimit(2.0)))
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9)
    for first, epochs in ((0, 10), (2, 1)):
        y = first + torch.arange(600) % 2
        x = torch.randn(600, 20) + 3 * nn.functional.one_hot(y, 20)
        engine.begin([first, first + 1])
        for bx, by in [*zip(x.split(10), y.split(10), strict=True)] * epochs:
            optimizer.zero_grad()
            engine.loss(student, bx, by).backward()
            optimizer.step()
            engine.after_update(optimizer)
        engine.end((x, y))
    assert (student.eval()(x).argmax(1) == y).float().mean() > 0.9


@pytest.mark.parametrize(
    ("settings", "told"), [({"factor": 1}, "a number above 1; .* 0 for"), ({"window": 3}, "whole")]
)
def test_settings_that_cannot_work_are_refused(settings, told):
    with pytest.raises(ConfigError, match=told):
        StepLimit(**settings)
    with pytest.raises(ConfigError, match=r"limit: expected a StepLimit"):
        Objective("x", limit=2.0)
