"""logit_mse against numpy."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ckd.errors import ConfigError
from ckd.losses import logit_mse


def logits(batch=4, classes=5):
    drawn = 3 * torch.randn(2, batch, classes, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return drawn[0], drawn[1]


def test_it_is_numpys_mean_squared_gap_over_the_classes():
    student, target = logits()
    expected = np.mean((student.numpy() - target.numpy()) ** 2, axis=1)
    np.testing.assert_allclose(logit_mse(student, target).numpy(), expected)


def test_its_mean_is_torchs_over_batch_and_classes():
    student, target = logits()
    torch.testing.assert_close(logit_mse(student, target).mean(), F.mse_loss(student, target))


def test_gradient_is_twice_the_gap_over_the_number_of_classes():
    student, target = logits()
    student.requires_grad_()
    logit_mse(student, target).sum().backward()
    np.testing.assert_allclose(student.grad.numpy(), 2 * (student - target).detach().numpy() / 5)


def test_a_mask_means_the_mean_over_the_chosen_columns():
    student, target = logits()
    mask = torch.tensor([True, False, True, False, True])
    expected = np.mean((student.numpy() - target.numpy())[:, [0, 2, 4]] ** 2, axis=1)
    np.testing.assert_allclose(logit_mse(student, target, classes=mask).numpy(), expected)


def test_masks_for_each_sample_are_each_divided_by_their_own_number_of_classes():
    student, target = logits(batch=3)
    masks = torch.tensor([[1, 0, 0, 0, 0], [1, 1, 0, 0, 1], [1, 1, 1, 1, 1]], dtype=torch.bool)
    gap = (student - target).numpy()
    expected = [np.mean(gap[i, m] ** 2) for i, m in enumerate(masks.numpy())]
    np.testing.assert_allclose(logit_mse(student, target, classes=masks).numpy(), expected)


@pytest.mark.parametrize("mask", [None, torch.tensor([True, False, True, True, False])])
def test_zero_mean_leaves_the_variance_of_the_gap(mask):
    student, target = logits()
    gap = (student - target).numpy()[:, slice(None) if mask is None else mask.numpy()]
    found = logit_mse(student, target, zero_mean=True, classes=mask)
    np.testing.assert_allclose(found.numpy(), np.var(gap, axis=1))
    torch.testing.assert_close(logit_mse(student + 3, target, zero_mean=True, classes=mask), found)


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -1000.0])
def test_what_stands_in_masked_columns_poisons_neither_value_nor_gradient(garbage):
    student, target = logits()
    clean = logit_mse(student[:, :3], target[:, :3])
    target[:, 3:] = garbage
    student.requires_grad_()
    found = logit_mse(student, target, classes=~target.isnan() & (torch.arange(5) < 3))
    torch.testing.assert_close(found, clean)
    found.sum().backward()
    assert student.grad.isfinite().all()
    assert not student.grad[:, 3:].any()


def test_a_row_without_any_class_is_worth_nothing():
    student, target = logits(batch=2)
    target[0] = torch.nan
    student.requires_grad_()
    found = logit_mse(student, target, classes=~target.isnan())
    found.sum().backward()
    assert found[0].item() == 0
    assert not student.grad[0].any()
    assert student.grad[1].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_squares_do_not_overflow(dtype):
    student, target = torch.full((1, 2), 600.0, dtype=dtype), torch.full((1, 2), -400.0, dtype=dtype)
    found = logit_mse(student, target)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), [1e6])  # beyond float16's 65504


@pytest.mark.parametrize("shape", [(4, 6), (3, 5), (5,), (4, 1)])
def test_shapes_that_differ_are_refused(shape):
    with pytest.raises(ConfigError, match="logits to compare"):
        logit_mse(logits()[0], torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_mean_of_half_precision_is_taken_in_single_precision(dtype):
    student, target = ((100 * drawn).to(dtype) for drawn in logits())
    found = logit_mse(student, target)
    assert found.dtype == torch.float32
    expected = np.mean((student.double().numpy() - target.double().numpy()) ** 2, axis=1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
