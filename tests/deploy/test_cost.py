"""Parameters, multiply-adds and bytes by hand; the network stays as it is."""

import pytest
import torch
from torch import nn

from ckd.deploy import cost
from ckd.networks import network


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.layer = kind(8, 4, batch_first=True)

    def forward(self, x):
        return self.layer(x)[0]


def test_a_convolutional_network_by_hand():
    model = network("convnet", (3, 32, 32), 10)
    found = cost(model, torch.zeros(2, 3, 32, 32), batch_size=3, repeats=1)
    convolutions = [(3, 32, 32), (32, 64, 16), (64, 128, 8)]  # channels in, channels out, width of the image
    assert found.multiply_adds == sum(9 * i * o * width**2 for i, o, width in convolutions) + 128 * 10
    norms = sum(2 * o for _, o, _ in convolutions)
    assert found.parameters == sum(9 * i * o for i, o, _ in convolutions) + norms + 129 * 10
    assert found.nbytes == 4 * (found.parameters + norms) + 3 * 8  # running statistics, and counts in int64
    assert found.batch_size == 3
    assert min(found.latency, found.batch_latency) > 0


@pytest.mark.parametrize(("kind", "gates"), [(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)])
def test_recurrent_layers_count(kind, gates):
    found = cost(Recurrent(kind), torch.zeros(1, 5, 8), batch_size=1, repeats=1)
    assert found.multiply_adds == 5 * gates * 4 * (8 + 4)


def test_attention_counts_and_its_settings_stay(reader, sentences):
    fast = torch.backends.mha.get_fastpath_enabled(), torch.backends.cuda.math_sdp_enabled()
    found = cost(reader, sentences(2), batch_size=2, repeats=1)
    layer = 6 * (4 * 8 * 8 + 2 * 8 * 16) + 2 * 6 * 6 * 8  # projections and the two linear layers; scores and their use
    assert found.multiply_adds == layer + 8 * 3
    assert fast == (torch.backends.mha.get_fastpath_enabled(), torch.backends.cuda.math_sdp_enabled())
    assert torch.backends.mkldnn.enabled


def test_shared_weights_count_once():
    shared = nn.Linear(4, 4, bias=False)
    found = cost(nn.Sequential(shared, shared), torch.zeros(1, 4), repeats=1)
    assert (found.parameters, found.nbytes, found.multiply_adds) == (16, 64, 32)


def test_half_precision_halves_the_bytes():
    found = cost(nn.Linear(4, 3).bfloat16(), torch.zeros(1, 4), repeats=1)
    assert (found.parameters, found.nbytes) == (15, 30)


def test_mode_statistics_and_gradients_stay():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout().eval())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cost(model, torch.randn(3, 4), repeats=1)
    assert [module.training for module in model.modules()] == [True, True, True, False]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
