"""Layers used in unusual ways: whatever has a gradient is held, or the model is refused when it is measured."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from ckd.anchors import Diagonal, Kronecker
from ckd.errors import ModelError


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def displacement_of(model, seed=1):
    return {name: random(*p.shape, seed=seed + i) for i, (name, p) in enumerate(model.named_parameters())}


def measured(samples, curvature=None):
    curvature = curvature or Kronecker(dtype=torch.float64)
    curvature.add(samples, 1.0)
    return curvature


class Twice(nn.Module):
    """Calls one layer twice."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(torch.tanh(self.layer(x)))


def test_a_layer_that_is_called_twice_has_a_diagonal(samples_of):
    """The sum of outer products of two calls is no product of sums."""
    torch.manual_seed(0)
    model = Twice().double()
    samples = samples_of(model, random(3, 4), [2, 0, 1])
    delta = displacement_of(model)
    diagonal = measured(samples, Diagonal())
    assert measured(samples).penalty(delta).item() == pytest.approx(diagonal.penalty(delta).item(), rel=1e-9)


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
        self.other.weight = self.one.weight

    def forward(self, x):
        return self.other(torch.tanh(self.one(x)))


class ByHand(nn.Module):
    """Uses the weight of a layer without calling it, as nn.MultiheadAttention its last."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return F.linear(x, self.layer.weight, self.layer.bias)


class Still(nn.Module):
    """A part of it never learns."""

    def __init__(self):
        super().__init__()
        self.backbone, self.head = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        with torch.no_grad():
            x = self.backbone(x)
        return self.head(x)


UNUSUAL = {
    "one weight, two layers": Tied,
    "weight used by hand": ByHand,
    "without a graph": Still,
    "parametrised": lambda: nn.Sequential(weight_norm(nn.Linear(4, 4))),
}


@pytest.mark.parametrize("make", UNUSUAL.values(), ids=UNUSUAL)
def test_layers_used_in_other_ways_are_held_or_refused(make, samples_of):
    torch.manual_seed(0)
    samples = samples_of(make().double(), random(5, 4), [0, 1, 2, 3, 0])
    try:
        curvature = measured(samples)
    except ModelError:
        return
    delta, diagonal = displacement_of(samples.model), measured(samples, Diagonal())
    held = {name for name, off in diagonal.correction(delta, 1.0).items() if off.any()}
    assert {name for name, off in curvature.correction(delta, 1.0).items() if off.any()} == held
