"""cross_entropy against scipy and torch: with labels and class probabilities, over all classes and over some."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from torch.nn import functional as F

from ckd.errors import CkdError, DataError
from ckd.losses import cross_entropy


def batch(size=6, classes=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(2)
    student = 2 * torch.randn(size, classes, generator=generator, dtype=torch.float64)
    return student.to(dtype), torch.randint(classes, (size,), generator=generator)


def probabilities(size=6, classes=5, dtype=torch.float64):
    """Class probabilities, each row with a sum of 1."""
    generator = torch.Generator().manual_seed(7)
    return torch.randn(size, classes, generator=generator, dtype=torch.float64).softmax(1).to(dtype)


def scipys(student, targets):
    """The cross entropy of class probabilities, sample by sample."""
    return -(targets.double().numpy() * log_softmax(student.double().numpy(), axis=1)).sum(1)


def gradient(student, targets, **settings):
    student = student.clone().requires_grad_()
    cross_entropy(student, targets, **settings).sum().backward()
    return student.grad


def test_it_is_scipys_log_softmax_at_the_label():
    student, targets = batch()
    expected = -log_softmax(student.numpy(), axis=1)[np.arange(6), targets.numpy()]
    np.testing.assert_allclose(cross_entropy(student, targets).numpy(), expected)


def test_it_is_torchs_cross_entropy_without_the_mean():
    student, targets = batch()
    torch.testing.assert_close(cross_entropy(student, targets), F.cross_entropy(student, targets, reduction="none"))


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


# class probabilities -------------------------------------------------------------------------------------------------


def test_with_class_probabilities_it_is_scipys_and_torchs_cross_entropy():
    student, _ = batch()
    found = cross_entropy(student, probabilities())
    np.testing.assert_allclose(found.numpy(), scipys(student, probabilities()))
    torch.testing.assert_close(found, F.cross_entropy(student, probabilities(), reduction="none"))


def test_its_gradient_is_softmax_less_class_probabilities():
    student, _ = batch()
    expected = softmax(student.numpy(), axis=1) - probabilities().numpy()
    np.testing.assert_allclose(gradient(student, probabilities()).numpy(), expected, atol=1e-14)


def test_over_some_classes_their_probabilities_are_not_scaled_up():
    student, _ = batch()
    mask = torch.tensor([False, True, False, True, True])
    chosen = probabilities()[:, mask]
    found = cross_entropy(student, probabilities(), classes=mask)
    np.testing.assert_allclose(found.numpy(), scipys(student[:, mask], chosen))
    torch.testing.assert_close(found, F.cross_entropy(student[:, mask], chosen, reduction="none"))
    grad = gradient(student, probabilities(), classes=mask)
    expected = chosen.sum(1, keepdim=True).numpy() * softmax(student[:, mask].numpy(), axis=1) - chosen.numpy()
    np.testing.assert_allclose(grad[:, mask].numpy(), expected, atol=1e-14)
    assert not grad[:, ~mask].any()


def test_each_sample_may_have_its_own_classes_with_class_probabilities():
    student, _ = batch(size=2)
    masks = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 1, 1, 1]], dtype=torch.bool)
    first = scipys(student[:1, :2], probabilities(size=2)[:1, :2])
    second = scipys(student[1:, 2:], probabilities(size=2)[1:, 2:])
    found = cross_entropy(student, probabilities(size=2), classes=masks)
    np.testing.assert_allclose(found.numpy(), np.concatenate([first, second]))
    assert not gradient(student, probabilities(size=2), classes=masks)[~masks].any()


@pytest.mark.parametrize("mask", [None, [True, False, True, True, False], [False] * 5], ids=["all", "some", "none"])
def test_one_hot_rows_are_labels(mask):
    student, targets = batch()
    classes = None if mask is None else torch.tensor(mask)
    one_hot = F.one_hot(targets, 5).double()
    found, wanted = (cross_entropy(student, t, classes=classes) for t in (one_hot, targets))
    torch.testing.assert_close(found, wanted)
    assert mask is None or (wanted == 0).any()  # some labels are left out
    found, wanted = (gradient(student, t, classes=classes) for t in (one_hot, targets))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), float("-inf"), 1e30])
def test_neither_logits_nor_probabilities_matter_outside_the_classes(garbage):
    student, _ = batch()
    targets, mask = probabilities(), torch.arange(5) < 3
    expected = scipys(student[:, :3], targets[:, :3])
    student[:, 3:] = targets[:, 3:] = garbage
    np.testing.assert_allclose(cross_entropy(student, targets, classes=mask).numpy(), expected)
    grad = gradient(student, targets, classes=mask)
    assert grad.isfinite().all()
    assert not grad[:, 3:].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("content", [0.0, 1000.0, float("nan")])
def test_class_probabilities_of_no_class_are_worth_nothing_and_teach_nothing(dtype, content):
    student, _ = batch(dtype=dtype)
    targets, masks = probabilities(dtype=dtype), torch.ones(6, 5, dtype=torch.bool)
    masks[[1, 4]] = False
    student[[1, 4]] = content
    found, grad = cross_entropy(student, targets, classes=masks), gradient(student, targets, classes=masks)
    assert found.isfinite().all()
    assert (found == 0).tolist() == [False, True, False, False, True, False]
    assert grad.isfinite().all()
    assert not grad[[1, 4]].any()
    everything_out = cross_entropy(student, targets, classes=torch.zeros(5, dtype=torch.bool))
    assert everything_out.tolist() == [0] * 6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("of_targets", ["half", "single"])
@pytest.mark.parametrize("width", [5, 4])
def test_half_precision_with_class_probabilities_is_computed_in_single_precision(dtype, of_targets, width):
    student, _ = batch(dtype=dtype)
    targets = probabilities(dtype=dtype if of_targets == "half" else torch.float32)
    classes = None if width == 5 else torch.arange(5) < width
    found = cross_entropy(student, targets, classes=classes)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), scipys(student[:, :width], targets[:, :width]), rtol=1e-5)
    assert gradient(student, targets, classes=classes).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_gap_of_a_thousand_gives_the_closed_form_with_class_probabilities(dtype):
    """Row by row p_0 · 1000, the price of the class at 0; a class of probability 0 adds nothing."""
    student = torch.tensor([[0.0, 1000.0], [0.0, 1000.0], [0.0, 1000.0]], dtype=dtype)
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.25, 0.75]], dtype=dtype)
    assert cross_entropy(student, targets).tolist() == [1000, 0, 250]
    np.testing.assert_allclose(gradient(student, targets).float(), [[-1, 1], [0, 0], [-0.25, 0.25]])
