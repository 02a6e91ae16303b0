"""Programs of torch.export compute what the networks do."""

import pytest
import torch
from torch import nn

from ckd.deploy import export_program
from ckd.errors import ConfigError, ModelError


def test_a_program_computes_the_same_for_other_batch_sizes(tmp_path, capfd):
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Dropout(), nn.Flatten(), nn.Linear(108, 4))
    model(torch.randn(9, 1, 8, 8))  # statistics other than at the start
    export_program(model, torch.randn(1, 1, 8, 8), tmp_path / "net.pt2")
    assert capfd.readouterr() == ("", "")
    assert model.training
    loaded = torch.export.load(tmp_path / "net.pt2").module()
    for n in (1, 2, 7):
        x = torch.randn(n, 1, 8, 8)
        torch.testing.assert_close(loaded(x), model.eval()(x))


class Gated(nn.Module):
    def forward(self, x, gate):
        return x * gate[:, None]


def test_several_inputs(tmp_path):
    export_program(Gated(), (torch.randn(2, 3), torch.randn(2)), tmp_path / "net.pt2")
    x, gate = torch.randn(5, 3), torch.randn(5)
    found = torch.export.load(tmp_path / "net.pt2").module()(x, gate)
    torch.testing.assert_close(found, x * gate[:, None])


class Noisy(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x)


def test_a_network_that_draws_in_eval_mode_is_refused(tmp_path):
    with pytest.raises(ModelError, match="random numbers"):
        export_program(Noisy(), torch.ones(4, 9), tmp_path / "net.pt2")
    assert not list(tmp_path.iterdir())


def test_half_precision_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="float32"):
        export_program(nn.Linear(2, 2).half(), torch.ones(1, 2), tmp_path / "net.pt2")
