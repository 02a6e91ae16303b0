"""cross_entropy against scipy and torch, over all classes and over some."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch.nn import functional as F

from ckd.errors import CkdError, DataError
from ckd.losses import cross_entropy


def batch(size=6, classes=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(2)
    student = 2 * torch.randn(size, classes, generator=generator, dtype=torch.float64)
    return student.to(dtype), torch.randint(classes, (size,), generator=generator)


def gradient(student, targets, **settings):
    student = student.clone().requires_grad_()
    cross_entropy(student, targets, **settings).sum().backward()
    return student.grad


def test_per_sample_is_scipys_log_softmax_at_the_label():
    student, targets = batch()
    expected = -log_softmax(student.numpy(), axis=1)[np.arange(6), targets.numpy()]
    np.testing.assert_allclose(cross_entropy(student, targets).numpy(), expected)


def test_batch_version_is_torchs_cross_entropy():
    student, targets = batch()
    torch.testing.assert_close(cross_entropy(student, targets), F.cross_entropy(student, targets))


def test_over_some_classes_it_is_torchs_on_sliced_columns_with_renumbered_labels():
    student, _ = batch()
    targets = torch.tensor([1, 3, 4, 4, 3, 1])
    mask = torch.tensor([False, True, False, True, True])
    renumbered = torch.tensor([0, 1, 2, 2, 1, 0])
    found = cross_entropy(student, targets, classes=mask)
    torch.testing.assert_close(found, F.cross_entropy(student[:, mask], renumbered, reduction="none"))
    assert not gradient(student, targets, classes=mask)[:, ~mask].any()


def test_each_sample_may_have_its_own_classes():
    student, _ = batch(size=2)
    targets = torch.tensor([0, 4])
    masks = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 1, 1, 1]], dtype=torch.bool)
    first = F.cross_entropy(student[:1, :2], torch.tensor([0]), reduction="none")
    second = F.cross_entropy(student[1:, 2:], torch.tensor([2]), reduction="none")
    found = cross_entropy(student, targets, classes=masks)
    torch.testing.assert_close(found, torch.cat([first, second]))


@pytest.mark.parametrize("mask", [[True, True, False, False, False], [False] * 5], ids=["others", "none"])
def test_a_sample_outside_the_classes_is_worth_nothing_and_teaches_nothing(mask):
    student, _ = batch(size=2)
    targets = torch.tensor([3, 4])
    mask = torch.tensor(mask)
    assert cross_entropy(student, targets, classes=mask).tolist() == [0, 0]
    assert not gradient(student, targets, classes=mask).any()


@pytest.mark.parametrize("labels", [[0, 5], [-1, 0], [-100, 2], [7, 8]])
def test_labels_out_of_range_are_refused(labels):
    student, _ = batch(size=2)
    with pytest.raises(DataError, match="class indices from 0 to 4") as caught:
        cross_entropy(student, torch.tensor(labels))
    assert isinstance(caught.value, CkdError)
    assert f"labels from {min(labels)} to {max(labels)}" in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("classes", [None, torch.tensor([True, True, True, True, False])], ids=["all", "some"])
def test_half_precision_is_computed_in_single_precision(dtype, classes):
    student, targets = batch(dtype=dtype)
    targets = targets.clamp(max=3)
    found = cross_entropy(student, targets, classes=classes)
    chosen = student.double().numpy()[:, : 5 if classes is None else 4]
    expected = -log_softmax(chosen, axis=1)[np.arange(6), targets.numpy()]
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_gap_of_a_thousand_gives_the_closed_form(dtype):
    student = torch.tensor([[0.0, 1000.0], [1000.0, 0.0]], dtype=dtype)
    targets = torch.tensor([0, 0])
    assert cross_entropy(student, targets).tolist() == [1000, 0]
    np.testing.assert_allclose(gradient(student, targets).float(), [[-1, 1], [0, 0]])


def test_masked_units_at_minus_a_thousand_do_not_count():
    student, _ = batch(dtype=torch.float32)
    targets = torch.tensor([0, 1, 0, 1, 0, 1])
    expected = F.cross_entropy(student[:, :2], targets, reduction="none")
    student[:, 2:] = -1000
    found = cross_entropy(student, targets, classes=torch.arange(5) < 2)
    torch.testing.assert_close(found, expected)
