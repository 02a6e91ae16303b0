"""Losses of tokens against loops over what is no padding."""

import numpy as np
import pytest
import torch

from ckd.errors import ConfigError
from ckd.losses import attention_score_mse, token_mse

IDS = torch.tensor([[5, 9, 2, 0], [7, 3, 1, 4], [8, 0, 0, 0]])
SHAPES = {token_mse: (3, 4, 6), attention_score_mse: (3, 2, 4, 4)}
EVERY = pytest.mark.parametrize("loss", SHAPES, ids=lambda loss: loss.__name__)


def pair(loss, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    return [torch.randn(SHAPES[loss], generator=g, dtype=torch.float64).to(dtype) for _ in range(2)]


def test_token_mse_is_the_mean_over_real_tokens():
    student, target = pair(token_mse)
    gaps = (student - target).numpy()
    wanted = [np.mean([gaps[b, t] ** 2 for t in range(4) if IDS[b, t] != 0]) for b in range(3)]
    np.testing.assert_allclose(token_mse(student, target, inputs=IDS).numpy(), wanted)


def test_attention_score_mse_is_the_mean_over_pairs_of_real_tokens():
    student, target = pair(attention_score_mse)
    gaps = (student - target).numpy()
    real = [[t for t in range(4) if IDS[b, t] != 0] for b in range(3)]
    wanted = [np.mean([gaps[b, :, i, j] ** 2 for i in real[b] for j in real[b]]) for b in range(3)]
    np.testing.assert_allclose(attention_score_mse(student, target, inputs=IDS).numpy(), wanted)


@EVERY
def test_another_id_may_be_the_padding(loss):
    student, target = pair(loss)
    renamed = torch.where(IDS == 0, 99, IDS)
    assert torch.equal(loss(student, target, inputs=renamed, padding=99), loss(student, target, inputs=IDS))


@EVERY
def test_padding_has_no_gradient(loss):
    student, target = pair(loss)
    student.requires_grad_()
    loss(student, target, inputs=IDS).sum().backward()
    real = (IDS != 0)[..., None] if loss is token_mse else ((IDS != 0)[:, :, None] & (IDS != 0)[:, None])[:, None]
    assert torch.equal(student.grad != 0, real.expand_as(student))


@EVERY
def test_a_sample_of_nothing_but_padding_has_loss_0(loss):
    student, target = pair(loss)
    student.requires_grad_()
    losses = loss(student, target, inputs=torch.zeros_like(IDS))
    losses.sum().backward()
    assert not losses.any()
    assert not student.grad.any()


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_as_float32(loss, dtype):
    student, target = pair(loss, dtype)
    found = loss(student, target, inputs=IDS)
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(student.float(), target.float(), inputs=IDS))


@EVERY
def test_other_shapes_are_refused(loss):
    student, target = pair(loss)
    with pytest.raises(ConfigError, match="adaptor"):
        loss(student[..., :-1], target, inputs=IDS)
    for inputs in (IDS[:, :3], IDS[:2], torch.zeros(3, 4, 1)):
        with pytest.raises(ConfigError, match="outputs for tokens"):
            loss(student, target, inputs=inputs)


def test_features_without_tokens_are_refused():
    with pytest.raises(ConfigError, match=r"\(B, T, D\)"):
        token_mse(torch.zeros(3, 4), torch.zeros(3, 4), inputs=IDS)
    with pytest.raises(ConfigError, match=r"\(B, heads, T, T\)"):
        attention_score_mse(torch.zeros(3, 4, 4), torch.zeros(3, 4, 4), inputs=IDS)
