"""binary_cross_entropy against scipy, over all classes and over some."""

import numpy as np
import pytest
import torch
from scipy.special import expit, log_expit

from ckd.errors import ConfigError
from ckd.losses import binary_cross_entropy


def batch(size=6, classes=5, dtype=torch.float64):
    """Logits, and probabilities that are each a class's own."""
    generator = torch.Generator().manual_seed(3)
    student = 2 * torch.randn(size, classes, generator=generator, dtype=torch.float64)
    return student.to(dtype), torch.rand(size, classes, generator=generator, dtype=torch.float64).to(dtype)


def scipys(student, target):
    """Per sample; log(1 - σ(z)) = log σ(-z)."""
    z, p = student.double().numpy(), target.double().numpy()
    return -(p * log_expit(z) + (1 - p) * log_expit(-z)).sum(1)


def gradient(student, target, **settings):
    student = student.clone().requires_grad_()
    binary_cross_entropy(student, target, **settings).sum().backward()
    return student.grad


def test_it_is_scipys_sum_over_classes():
    student, target = batch()
    np.testing.assert_allclose(binary_cross_entropy(student, target).numpy(), scipys(student, target))


def test_its_gradient_is_probability_less_target():
    student, target = batch()
    np.testing.assert_allclose(gradient(student, target).numpy(), expit(student.numpy()) - target.numpy(), atol=1e-12)


def test_over_some_classes_it_is_that_of_the_sliced_columns():
    student, target = batch()
    mask = torch.tensor([False, True, False, True, True])
    found = binary_cross_entropy(student, target, classes=mask)
    np.testing.assert_allclose(found.numpy(), scipys(student[:, mask], target[:, mask]))
    assert not gradient(student, target, classes=mask)[:, ~mask].any()


def test_each_sample_may_have_its_own_classes():
    student, target = batch(size=2)
    masks = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 1, 1, 1]], dtype=torch.bool)
    wanted = [scipys(student[:1, :2], target[:1, :2]), scipys(student[1:, 2:], target[1:, 2:])]
    found = binary_cross_entropy(student, target, classes=masks)
    np.testing.assert_allclose(found.numpy(), np.concatenate(wanted))


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -1e30])
def test_neither_side_matters_outside_the_classes(garbage):
    student, target = batch()
    mask = torch.arange(5) < 3
    wanted = scipys(student[:, :3], target[:, :3])
    student[:, 3:] = target[:, 3:] = garbage
    np.testing.assert_allclose(binary_cross_entropy(student, target, classes=mask).numpy(), wanted)
    found = gradient(student, target, classes=mask)
    assert found.isfinite().all()
    assert not found[:, 3:].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("width", [5, 4])
def test_half_precision_is_computed_in_single_precision(dtype, width):
    student, target = batch(dtype=dtype)
    found = binary_cross_entropy(student, target, classes=None if width == 5 else torch.arange(5) < width)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), scipys(student[:, :width], target[:, :width]), rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_logits_of_a_thousand_give_the_closed_form(dtype):
    """|z| where the output is surely wrong, 0 where it is surely right, half of |z| where the target is ½."""
    student = torch.tensor([[1000.0, -1000.0], [1000.0, -1000.0], [1000.0, -1000.0]], dtype=dtype)
    target = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]], dtype=dtype)
    assert binary_cross_entropy(student, target).tolist() == [2000, 0, 1000]
    assert gradient(student, target).tolist() == [[1, -1], [0, 0], [0.5, -0.5]]


@pytest.mark.parametrize(
    ("student", "target"), [((6, 5), (6, 4)), ((6, 5), (5, 5)), ((5,), (5,)), ((6, 5), (6,)), ((2, 3, 4), (2, 3, 4))]
)
def test_shapes_that_differ_are_refused(student, target):
    with pytest.raises(ConfigError, match="Slice both to the classes that they share"):
        binary_cross_entropy(torch.zeros(student), torch.zeros(target))
