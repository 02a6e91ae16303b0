"""The accuracy of a network that goes on training."""

import copy
import math

import pytest
import torch
from torch import nn

from ckd.evaluation import accuracies


class Threshold(nn.Module):
    """Class 1 where the first number is above 0.5."""

    def forward(self, x):
        return torch.stack([0.5 - x[:, 0], x[:, 0] - 0.5], 1)


X = torch.tensor([[0.0], [1.0], [0.2], [0.9], [0.7]])


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_accuracy_on_each_experience(batch_size):
    experiences = [(X, torch.tensor([0, 1, 0, 1, 0])), (X[:2], torch.tensor([1, 1])), (X[:0], torch.tensor([]))]
    *known, unknown = accuracies(Threshold(), experiences, batch_size)
    assert known == [4 / 5, 1 / 2]
    assert math.isnan(unknown)


def test_the_network_its_mode_and_the_random_state_stay():
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    network[1].eval()  # a frozen part
    before, modes = copy.deepcopy(network.state_dict()), [module.training for module in network.modules()]
    random = torch.get_rng_state()
    x, y = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 2
    found = accuracies(network, [(x, y)])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [module.training for module in network.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert found == ((network.eval()(x).argmax(1) == y).double().mean().item(),)
