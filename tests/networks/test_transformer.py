"""The transformer against torch's own layer; its taps; padding, which must not count."""

import math

import pytest
import torch
from torch import nn

from ckd import tap
from ckd.errors import ConfigError, DataError
from ckd.networks import TextTransformer
from ckd.outputs import collect

IDS = torch.tensor([[5, 9, 2, 0, 0], [7, 7, 1, 3, 4], [8, 0, 0, 0, 0]])
REAL = IDS != 0


def model(**given):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = TextTransformer(10, 6, 3, **{"width": 12, "layers": 2, "heads": 3, **given}).double().eval()
        for parameter in made.parameters():  # begun small, it would hardly depend on what it attends to
            nn.init.normal_(parameter, std=0.3)
    return made


def torchs(block):
    """The same layer as torch has it."""
    attention = block.attention
    layer = nn.TransformerEncoderLayer(
        12, 3, 48, dropout=0.0, activation="gelu", layer_norm_eps=1e-12, batch_first=True, dtype=torch.float64
    )
    projections = (attention.query, attention.key, attention.value)
    layer.self_attn.in_proj_weight.data = torch.cat([one.weight for one in projections])
    layer.self_attn.in_proj_bias.data = torch.cat([one.bias for one in projections])
    for theirs, ours in (
        (layer.self_attn.out_proj, attention.output),
        (layer.linear1, block.feed_forward[0]),
        (layer.linear2, block.feed_forward[2]),
        (layer.norm1, block.attention_norm),
        (layer.norm2, block.norm),
    ):
        theirs.load_state_dict(ours.state_dict())
    return layer


def test_a_block_is_torchs_encoder_layer():
    x, (block, _) = torch.randn(3, 5, 12, dtype=torch.float64), model().blocks
    wanted = torchs(block).train()(x, src_key_padding_mask=~REAL)  # in eval mode another path zeroes padding
    torch.testing.assert_close(block(x, REAL)[REAL], wanted[REAL])


def test_scores_are_products_of_queries_and_keys_before_the_softmax():
    net = model()
    scores, below = tap("blocks.1.attention.scores"), tap("blocks.0")
    found = collect(net, IDS, None, [scores, below])
    attention, states = net.blocks[1].attention, found[below]
    assert found[scores].shape == (3, 3, 5, 5)
    for b, head, i, j in ((0, 0, 1, 2), (1, 2, 4, 0), (2, 1, 0, 3)):
        own = slice(4 * head, 4 * head + 4)
        query, key = attention.query(states[b, i])[own], attention.key(states[b, j])[own]
        torch.testing.assert_close(found[scores][b, head, i, j], query @ key / math.sqrt(4))


def test_hidden_states_and_embeddings_can_be_tapped():
    net = model()
    embeddings, first, last = tap("embeddings"), tap("blocks.0"), tap("blocks.1")
    found = collect(net, IDS, None, [embeddings, first, last])
    sums = net.embeddings.tokens.weight[IDS] + net.embeddings.positions.weight[:5]
    torch.testing.assert_close(found[embeddings], net.embeddings.norm(sums))
    torch.testing.assert_close(found[last], net.blocks[1](net.blocks[0](found[embeddings], REAL), REAL))
    pooled = torch.stack([states[real].mean(0) for states, real in zip(found[last], REAL, strict=True)])
    torch.testing.assert_close(net(IDS), net.head(pooled))


def test_padding_changes_nothing():
    net = model()
    for ids in IDS:
        alone = ids[ids != 0][None]
        torch.testing.assert_close(net(alone)[0], net(ids[None])[0])


def test_a_text_of_nothing_but_padding_has_finite_logits_and_gradients():
    net = model()
    logits = net(torch.zeros(1, 5, dtype=torch.int64))
    logits.sum().backward()
    torch.testing.assert_close(logits[0], net.head.bias)
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_half_precision_masks_padding_too():
    net, ids = model().to(torch.bfloat16), IDS[:1]
    torch.testing.assert_close(net(ids), net(ids[:, :3]), atol=0.1, rtol=0.1)


def test_dropout_is_off_in_eval_mode_and_on_in_training():
    net = model(dropout=0.5)
    assert torch.equal(net(IDS), net(IDS))
    net.train()
    assert not torch.equal(net(IDS), net(IDS))


def test_it_begins_as_bert_does():
    net = TextTransformer(2000, 8, 3, width=64, layers=1, heads=4)
    assert net.embeddings.tokens.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert net.blocks[0].feed_forward[0].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not net.blocks[0].attention.query.bias.any()


def test_what_cannot_work_is_refused():
    with pytest.raises(ConfigError, match="a multiple of the 5 heads") as error:
        TextTransformer(10, 6, 3, width=12, heads=5)
    assert "10" in error.value.fix
    with pytest.raises(ConfigError, match="heads"):
        TextTransformer(10, 6, 3, heads=0)
    with pytest.raises(DataError, match=r"up to 6.*received 7"):
        model()(torch.ones(1, 7, dtype=torch.int64))
