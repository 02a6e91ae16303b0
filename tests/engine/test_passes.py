"""How the student is shown stream and memory: what decides it."""

import pytest
import torch
from torch import nn

from ckd import Objective
from ckd.engine.passes import Passes, is_compiled, judges_each_sample_alone, uses_batch_statistics


def network(*extra):
    return nn.Sequential(nn.Linear(3, 4), *extra, nn.Linear(4, 2))


class StochasticDepth(nn.Module):
    """Named as torchvision's."""

    def forward(self, x):
        return x


class Running(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(4))

    def forward(self, x):
        return x - self.running_mean


BATCH_STATISTICS = {
    "batchnorm": network(nn.BatchNorm1d(4)),
    "batchnorm without running statistics": network(nn.BatchNorm1d(4, track_running_stats=False)),
    "running statistics of one's own": network(Running()),
    "instancenorm with running statistics": network(nn.InstanceNorm1d(4, track_running_stats=True)),
}
RANDOM = {
    "dropout": network(nn.Dropout(0.1)),
    "dropout of channels": network(nn.Dropout2d(0.1)),
    "random slopes": network(nn.RReLU()),
    "stochastic depth": network(StochasticDepth()),
    "dropout within an LSTM": nn.LSTM(3, 4, num_layers=2, dropout=0.5),
    "dropout within attention": nn.MultiheadAttention(4, 2, dropout=0.1),
}
ALONE = {
    "linear": network(),
    "layernorm": network(nn.LayerNorm(4)),
    "groupnorm": network(nn.GroupNorm(2, 4)),
    "instancenorm": network(nn.InstanceNorm1d(4)),
    "an LSTM": nn.LSTM(3, 4),
    "attention": nn.MultiheadAttention(4, 2),
}
EVERY = {**BATCH_STATISTICS, **RANDOM, **ALONE}


@pytest.mark.parametrize("name", EVERY)
def test_networks_are_known_for_what_they_depend_on(name):
    assert uses_batch_statistics(EVERY[name]) == (name in BATCH_STATISTICS)
    assert judges_each_sample_alone(EVERY[name]) == (name in ALONE)


def test_compiled_networks_are_known():
    model = network()
    assert not is_compiled(model)
    assert is_compiled(torch.compile(model, backend="eager"))
    model.compile(backend="eager")
    assert is_compiled(model)


def decided(model, *, joint=None, unique=True, random=False, cpu=True, with_batchnorm=False):
    passes = Passes.of(
        model, Objective("x", joint_with_batchnorm=with_batchnorm), joint=joint, unique=unique, random=random, cpu=cpu
    )
    return passes.joint, passes.unique


@pytest.mark.parametrize(
    ("name", "settings", "wanted"),
    [
        ("linear", {}, (True, True)),
        ("linear", {"joint": False}, (False, False)),
        ("linear", {"unique": False}, (True, False)),
        ("linear", {"random": True}, (True, False)),
        ("linear", {"cpu": False}, (True, False)),
        ("dropout", {}, (True, False)),
        ("batchnorm", {}, (False, False)),
        ("batchnorm", {"joint": True}, (True, False)),
        ("batchnorm", {"with_batchnorm": True}, (True, False)),
        ("batchnorm", {"with_batchnorm": True, "joint": False}, (False, False)),
    ],
)
def test_one_pass_unless_it_is_another_mathematics_and_rows_once_where_that_pays(name, settings, wanted):
    assert decided(EVERY[name], **settings) == wanted


def test_compiled_code_sees_one_size_of_batch():
    model = network()
    model.compile(backend="eager")
    assert decided(model) == (True, False)
