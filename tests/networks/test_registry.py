"""The networks by name: what they return, how large they are, what they refuse."""

import pytest
import torch

from ckd.errors import ConfigError, UnknownNameError
from ckd.networks import NETWORKS, network

IMAGES = [name for name in NETWORKS if not name.startswith("text-")]
"""Networks of images, and the mlp."""


def build(name, input_shape, n_classes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return network(name, input_shape, n_classes)


@pytest.mark.parametrize("n_classes", [2, 10])
@pytest.mark.parametrize("name", IMAGES)
def test_every_network_returns_a_logit_for_each_class(name, n_classes):
    logits = build(name, (3, 32, 32), n_classes)(torch.zeros(2, 3, 32, 32))
    assert logits.shape == (2, n_classes)
    assert logits.dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("mlp", (7,)),
        ("mlp", (1, 28, 28)),
        ("convnet", (1, 8, 8)),
        ("convnet", (1, 28, 28)),
        ("small-resnet", (1, 8, 8)),
    ],
)
def test_networks_for_other_inputs(name, shape):
    assert build(name, shape, 10)(torch.zeros(2, *shape)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("mlp", (1, 28, 28), 89_610),  # 785 * 100 + 101 * 100 + 101 * 10
        ("convnet", (3, 32, 32), 95_000),
        ("small-resnet", (3, 32, 32), 158_914),
        ("resnet18", (3, 32, 32), 11_200_000),
        ("slim-resnet18", (3, 32, 32), 1_100_000),
        ("mobilenet-v2", (3, 32, 32), 2_236_682),
        ("mobilenet-v2-half", (3, 32, 32), 700_490),
    ],
)
def test_networks_are_as_large_as_published(name, shape, expected):
    size = sum(p.numel() for p in build(name, shape, 10).parameters())
    assert size == pytest.approx(expected, rel=0.01)


def test_the_published_mlp_begins_as_published():
    drawn, plain = build("xavier-mlp", (1, 28, 28), 10), build("mlp", (1, 28, 28), 10)
    assert [p.shape for p in drawn.parameters()] == [p.shape for p in plain.parameters()]
    for layer in (drawn[1], drawn[3], drawn[5]):
        weight = layer.weight.detach()
        n_out, n_in = weight.shape
        bound = (6 / (n_in + n_out)) ** 0.5  # Glorot and Bengio 2010, equation 16
        assert 0.98 * bound < weight.abs().max() <= bound
        assert weight.std() == pytest.approx(bound / 3**0.5, rel=0.05)
        assert layer.bias.eq(0).all()


def test_an_unknown_network_comes_with_the_nearest():
    with pytest.raises(UnknownNameError, match="'convnet'"):
        network("convnett", (3, 32, 32), 10)


@pytest.mark.parametrize("name", sorted(set(IMAGES) - {"mlp", "small-mlp", "xavier-mlp"}))
def test_convolutions_refuse_what_is_no_image(name):
    with pytest.raises(ConfigError, match="expected images") as error:
        network(name, (64,), 10)
    assert "(64,)" in error.value.received
    assert "mlp" in error.value.fix


@pytest.mark.parametrize(
    ("name", "shape"),
    [("resnet18", (1, 28, 28)), ("slim-resnet18", (3, 16, 16)), ("convnet", (1, 4, 4)), ("small-resnet", (1, 4, 4))],
)
def test_convolutions_refuse_images_that_do_not_fit(name, shape):
    with pytest.raises(ConfigError):
        network(name, shape, 10)


def test_a_class_of_ones_own_is_built_as_a_function_is(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Linear):\n    def __init__(self):\n        super().__init__(4, 3)\n"
    )
    assert network(f"{tmp_path}/mine.py:Net", (4,), 3)(torch.zeros(1, 4)).shape == (1, 3)
