"""Pruning: what is zero, when, and what stays as it was."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from ckd import Engine, recipes
from ckd.errors import ConfigError
from ckd.pruning import LAST, Pruning, sparsity_of


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))


def trained(part, steps, model=None, **sgd):
    """(model, sparsity after each step)"""
    model = model or network()
    engine = Engine(recipes.naive().extend(corrections=[part] if part else []))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, **sgd)
    g = torch.Generator().manual_seed(1)
    engine.begin(classes=range(10))
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        engine.loss(model, torch.randn(8, 1, 8, 8, generator=g), torch.randint(10, (8,), generator=g)).backward()
        optimizer.step()
        engine.after_update(optimizer)
        found.append(sparsity_of(model))
    return model, found


@pytest.mark.parametrize("sgd", [{}, {"momentum": 0.9, "weight_decay": 0.01}])
def test_it_ends_as_sparse_as_it_says_along_the_published_curve(sgd):
    model, found = trained(Pruning(0.8, 40), 40, **sgd)
    n = 4 * 9 + 1440
    t = np.minimum(1, np.arange(1, 41) / (LAST * 40))
    np.testing.assert_allclose(found, np.round(0.8 * (1 - (1 - t) ** 3) * n) / n, atol=1e-12)
    assert sparsity_of(model) == pytest.approx(0.8, abs=1 / n)


def test_the_smallest_weights_of_all_layers_go_and_the_others_are_not_touched():
    model = network()
    before = copy.deepcopy(model.state_dict())
    part = Pruning(0.5, 1)
    part.after_update(type("Update", (), {"model": model})())
    everything = torch.cat([before["0.weight"].flatten(), before["4.weight"].flatten()])
    bound = everything.abs().sort().values[len(everything) // 2]
    for name, value in model.state_dict().items():
        old = before[name]
        pruned = name in ("0.weight", "4.weight") and old.dim() > 1
        torch.testing.assert_close(value, torch.where(old.abs() >= bound, old, 0.0) if pruned else old, rtol=0, atol=0)


def test_a_sparsity_of_0_changes_nothing():
    ours, plain = (trained(part, 5)[0] for part in (Pruning(0.0, 5), None))
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)


def test_after_three_quarters_the_same_weights_stay_pruned():
    part, masks = Pruning(0.8, 40), []
    model = network()
    engine = Engine(recipes.naive().extend(corrections=[part]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    engine.begin(classes=range(10))
    g = torch.Generator().manual_seed(1)
    for _ in range(40):
        optimizer.zero_grad()
        engine.loss(model, torch.randn(8, 1, 8, 8, generator=g), torch.randint(10, (8,), generator=g)).backward()
        optimizer.step()
        engine.after_update(optimizer)
        masks.append(model[4].weight == 0)
    assert all(torch.equal(mask, masks[29]) for mask in masks[30:])


def test_what_was_pruned_stays_pruned():
    part = Pruning(0.7, 20)
    model, _ = trained(part, 20)
    zero = model[4].weight == 0
    again, _ = trained(part := Pruning(0.7, 40), 15, model)
    state = part.state_dict()
    assert (again[4].weight == 0).float().mean() < 0.8
    assert zero.any()
    fresh = Pruning(0.7, 40)
    fresh.load_state_dict(state, again)
    assert fresh.state_dict()["taken"] == 15
    assert all(torch.equal(a, b) for a, b in zip(fresh._masks.values(), part._masks.values(), strict=True))
    assert fresh.nbytes() == {"masks": 36 + 1440}


@pytest.mark.parametrize(("sparsity", "steps"), [(-0.1, 5), (1.0, 5), (float("nan"), 5), (0.5, 0)])
def test_what_cannot_be_is_refused(sparsity, steps):
    with pytest.raises(ConfigError):
        Pruning(sparsity, steps)


def test_a_model_without_weights_is_refused():
    with pytest.raises(ConfigError, match="linear layers"):
        Pruning(0.5, 5).begin(nn.ReLU(), None)
