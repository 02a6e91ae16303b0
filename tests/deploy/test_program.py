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


def test_several_inputs(reader, sentences, tmp_path):
    export_program(reader, sentences(2), tmp_path / "net.pt2")
    given = sentences(5)
    with torch.no_grad():
        found = torch.export.load(tmp_path / "net.pt2").module()(*given)
        torch.testing.assert_close(found, reader.eval()(*given), atol=1e-5, rtol=1e-5)


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
