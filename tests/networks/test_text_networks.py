"""Networks of token ids by name: against loops, without padding, and refused for other inputs."""

import pytest
import torch

from ckd.errors import ConfigError
from ckd.networks import network

NAMES = ["text-pool", "text-attention", "text-transformer"]
EVERY = pytest.mark.parametrize("name", NAMES)
IDS = torch.tensor([[5, 9, 2, 0, 0, 0], [7, 3, 1, 3, 4, 8]])


def made(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return network(name, (6,), 3, 10).eval()


@EVERY
def test_every_network_returns_a_logit_for_each_class(name):
    logits = made(name)(IDS)
    assert (logits.shape, logits.dtype) == ((2, 3), torch.float32)


@EVERY
def test_padding_changes_nothing(name):
    net = made(name)
    torch.testing.assert_close(net(IDS)[:1], net(IDS[:1, :3]))


@EVERY
def test_a_text_of_nothing_but_padding_has_finite_logits(name):
    assert made(name)(torch.zeros(1, 6, dtype=torch.int64)).isfinite().all()


@EVERY
def test_every_other_token_counts(name):
    net, other = made(name), IDS.clone()
    other[0, 2] = 6
    assert not torch.allclose(net(IDS)[0], net(other)[0], atol=1e-6)


def test_pooling_is_the_mean_of_embeddings_whatever_their_order():
    net = made("text-pool")
    mean = torch.stack([net[0].weight[[i for i in ids if i]].mean(0) for ids in IDS.tolist()])
    torch.testing.assert_close(net(IDS), net[1:](mean))
    torch.testing.assert_close(net(IDS), net(IDS.flip(1)))


def test_attention_weights_the_positions():
    net = made("text-attention")
    wanted = []
    for ids in IDS:
        real = [0, *ids[ids != 0].tolist(), 0]  # a convolution's border
        padded = net.embeddings.weight[real]
        states = [
            torch.relu(torch.einsum("odk,kd->o", net.context.weight, padded[t : t + 3]) + net.context.bias)
            for t in range(len(real) - 2)
        ]
        hidden, _, query = net.scores
        shares = torch.softmax(torch.stack([query.weight[0] @ torch.tanh(hidden(h)) for h in states]), 0)
        wanted.append(net.head(sum(share * h for share, h in zip(shares, states, strict=True))))
    torch.testing.assert_close(net(IDS), torch.stack(wanted))


@EVERY
@pytest.mark.parametrize(("shape", "vocabulary"), [((3, 8, 8), 10), ((6,), 0)])
def test_what_is_no_text_is_refused(name, shape, vocabulary):
    with pytest.raises(ConfigError, match="expected token ids"):
        network(name, shape, 3, vocabulary)


@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_networks_of_numbers_refuse_token_ids(name):
    with pytest.raises(ConfigError, match="one of token ids") as error:
        network(name, (6,), 3, 10)
    assert "text-transformer" in error.value.fix
