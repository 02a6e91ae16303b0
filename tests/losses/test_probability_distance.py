"""probability_distance against scipy, over all classes and over some."""

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax

from ckd.errors import ConfigError
from ckd.losses import probability_distance


def logits(size=6, classes=5, dtype=torch.float64):
    """Two independent tables of logits."""
    drawn = 2 * torch.randn(2, size, classes, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return drawn[0].to(dtype), drawn[1].to(dtype)


def by_hand(student, target):
    gap = softmax(student.double().numpy(), axis=1) - softmax(target.double().numpy(), axis=1)
    return np.sqrt((gap**2).sum(1))


def gradient(student, target, **settings):
    student = student.clone().requires_grad_()
    probability_distance(student, target, **settings).sum().backward()
    return student.grad


def test_it_is_the_length_of_the_difference_of_scipys_softmaxes():
    student, target = logits()
    np.testing.assert_allclose(probability_distance(student, target).numpy(), by_hand(student, target))


def test_worked_example():
    """Probabilities (1/4, 3/4) and (1/2, 1/2) are √2 / 4 apart."""
    student, target = torch.tensor([[0, math.log(3)]]), torch.zeros(1, 2)
    assert probability_distance(student, target).item() == pytest.approx(math.sqrt(2) / 4)


def test_predictions_that_are_sure_of_different_classes_are_the_square_root_of_two_apart():
    student, target = torch.tensor([[1000.0, 0.0]]), torch.tensor([[0.0, 1000.0]])
    assert probability_distance(student, target).item() == pytest.approx(math.sqrt(2))


def test_a_shift_of_all_logits_changes_nothing():
    student, target = logits()
    torch.testing.assert_close(probability_distance(student + 7, target - 3), probability_distance(student, target))


def test_gradient_is_the_unit_vector_of_the_difference_through_the_softmax():
    student, target = logits()
    p, q = softmax(student.numpy(), axis=1), softmax(target.numpy(), axis=1)
    unit = (p - q) / np.sqrt(((p - q) ** 2).sum(1, keepdims=True))
    expected = p * (unit - (p * unit).sum(1, keepdims=True))
    np.testing.assert_allclose(gradient(student, target).numpy(), expected, atol=1e-14)


@pytest.mark.parametrize("classes", [None, torch.arange(5) < 3], ids=["all", "some"])
def test_equal_predictions_teach_nothing_and_break_nothing(classes):
    student, _ = logits()
    assert not probability_distance(student, student.clone(), classes=classes).any()
    assert not gradient(student, student.clone(), classes=classes).any()


def test_over_some_classes_it_is_that_of_the_sliced_columns():
    student, target = logits()
    mask = torch.tensor([False, True, False, True, True])
    found = probability_distance(student, target, classes=mask)
    np.testing.assert_allclose(found.numpy(), by_hand(student[:, mask], target[:, mask]))
    assert not gradient(student, target, classes=mask)[:, ~mask].any()


def test_each_sample_may_have_its_own_classes():
    student, target = logits()
    masks = torch.rand(student.shape, generator=torch.Generator().manual_seed(0)) < 0.6
    expected = [by_hand(student[i : i + 1, m], target[i : i + 1, m])[0] for i, m in enumerate(masks)]
    found = probability_distance(student, target, classes=masks)
    assert len({int(m.sum()) for m in masks}) > 1
    np.testing.assert_allclose(found.numpy(), expected)
    assert not gradient(student, target, classes=masks)[~masks].any()


def test_a_row_without_any_class_is_worth_nothing_whatever_was_stored():
    student, target = logits(size=2)
    target[0] = torch.nan
    found = probability_distance(student, target, classes=~target.isnan())
    assert found[0].item() == 0
    np.testing.assert_allclose(found[1:].numpy(), by_hand(student[1:], target[1:]))
    grad = gradient(student, target, classes=~target.isnan())
    assert not grad[0].any()
    assert grad[1].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("width", [5, 4])
def test_half_precision_is_computed_in_single_precision(dtype, width):
    student, target = logits(dtype=dtype)
    found = probability_distance(student, target, classes=None if width == 5 else torch.arange(5) < width)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), by_hand(student[:, :width], target[:, :width]), rtol=1e-5)


@pytest.mark.parametrize("shape", [(6, 4), (5, 5), (5,), (6, 1)])
def test_shapes_that_differ_are_refused(shape):
    with pytest.raises(ConfigError, match="Slice both to the classes that they share"):
        probability_distance(logits()[0], torch.zeros(shape))
