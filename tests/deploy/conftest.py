"""A network that knows the digits, and its ONNX file."""

import functools
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ckd.data.sources import digits as load_digits
from ckd.deploy import export_onnx
from ckd.networks import network


class Reader(nn.Module):
    """Logits for token ids (B, T) and a mask (B, T) of those that count."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, input_ids, mask):
        hidden = self.layer(self.embedding(input_ids), src_key_padding_mask=~mask)
        weights = mask[..., None].to(hidden.dtype)
        return self.head((hidden * weights).sum(1) / weights.sum(1))


@pytest.fixture
def reader():
    return Reader()


@pytest.fixture
def sentences():
    """sentences(n) -> token ids (n, 6) and their mask; the first token always counts."""

    def make(n):
        mask = torch.rand(n, 6) < 0.7
        mask[:, 0] = True
        return torch.randint(20, (n, 6)), mask

    return make


@pytest.fixture(scope="session")
def digits():
    """An mlp trained on the digits for a moment, with x_train, x_test and y_test in [0, 1]."""
    arrays = load_digits()
    x, x_test = arrays.x_train.float() / 16, arrays.x_test.float() / 16
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = network("mlp", (1, 8, 8), 10)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(40):
            loss = nn.functional.cross_entropy(model(x), arrays.y_train)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return SimpleNamespace(network=model.eval(), x_train=x, x_test=x_test, y_test=arrays.y_test)


@pytest.fixture(scope="session")
def one_registry():
    """The exporter's table of operators, read once: reading it takes longer than exporting a small network."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(functools.cache(ONNXRegistry.from_torchlib)))
        yield


@pytest.fixture(scope="session")
def digits_file(digits, one_registry, tmp_path_factory):
    file = tmp_path_factory.mktemp("onnx") / "digits.onnx"
    export_onnx(digits.network, digits.x_test[:1], file)
    return file
