"""priority against numpy: the margin by which the given classes win."""

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax

from ckd.losses import priority

LABELS = torch.zeros(8, dtype=torch.int64)
INSIDE = torch.tensor([False, True, False, True, False])


def logits(dtype=torch.float64):
    generator = torch.Generator().manual_seed(6)
    return (2 * torch.randn(8, 5, generator=generator, dtype=torch.float64)).to(dtype)


def by_hand(student, masks, margin=0.3):
    p = softmax(student.double().numpy(), axis=1)
    masks = np.broadcast_to(masks, p.shape)
    return [max(0.0, margin + row[~m].max() - row[m].max()) for row, m in zip(p, masks, strict=True)]


def gradient(student, **settings):
    student = student.clone().requires_grad_()
    priority(student, LABELS, **settings).sum().backward()
    return student.grad


@pytest.mark.parametrize("margin", [0.0, 0.1, 0.3, 1.0])
def test_it_is_the_formula(margin):
    expected = by_hand(logits(), INSIDE.numpy(), margin)
    found = priority(logits(), LABELS, margin=margin, classes=INSIDE)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-15)
    assert max(expected) > 0
    assert min(expected) == 0 or margin == 1


def test_worked_example():
    """Probabilities (1/8, 5/8, 2/8): 0.3 + 5/8 - 2/8 where class 2 should win, nothing where class 1 should."""
    student = torch.tensor([[1.0, 5.0, 2.0]]).log()
    for winner, expected in ((2, 0.675), (1, 0.0), (0, 0.8)):
        found = priority(student, LABELS[:1], classes=torch.arange(3) == winner)
        assert found.item() == pytest.approx(expected)


def test_the_softmax_runs_over_all_classes_and_only_the_highest_count():
    student = torch.tensor([[2.0, 2.0, 2.0, 2.0]]).log()
    found = priority(student, LABELS[:1], margin=0.5, classes=torch.tensor([True, True, False, False]))
    assert found.item() == pytest.approx(0.5)


def test_it_ends_at_one_more_than_the_margin():
    student = torch.tensor([[1000.0, 0.0]])
    assert priority(student, LABELS[:1], classes=torch.tensor([False, True])).item() == pytest.approx(1.3)


def test_the_labels_do_not_matter():
    one, other = (priority(logits(), LABELS + k, classes=INSIDE) for k in (0, 3))
    assert torch.equal(one, other)


def test_each_sample_may_have_its_own_classes():
    masks = torch.rand(8, 5, generator=torch.Generator().manual_seed(2)) < 0.5
    masks[:, 0], masks[:, 1] = True, False  # something inside, something outside
    found = priority(logits(), LABELS, classes=masks)
    np.testing.assert_allclose(found.numpy(), by_hand(logits(), masks.numpy()), atol=1e-15)
    alone = [priority(logits()[i : i + 1], LABELS[:1], classes=masks[i : i + 1]) for i in range(8)]
    torch.testing.assert_close(found, torch.cat(alone))


def test_where_every_class_should_win_there_is_nothing_to_win():
    for classes in (None, torch.ones(5, dtype=torch.bool), torch.ones(8, 5, dtype=torch.bool)):
        assert priority(logits(), LABELS, margin=2.0, classes=classes).tolist() == [0] * 8


def test_without_any_class_the_highest_probability_counts_and_nothing_is_learnt():
    nothing = torch.zeros(5, dtype=torch.bool)
    expected = 0.3 + softmax(logits().numpy(), axis=1).max(1)
    np.testing.assert_allclose(priority(logits(), LABELS, classes=nothing).numpy(), expected)
    assert not gradient(logits(), classes=nothing).any()


def test_only_the_highest_probability_inside_is_learnt_from_and_only_within_the_margin():
    p = softmax(logits().numpy(), axis=1)
    expected = np.zeros_like(p)
    for i, value in enumerate(by_hand(logits(), INSIDE.numpy())):
        if value > 0:
            best = max((1, 3), key=lambda c: p[i, c])
            expected[i] = -p[i, best] * ((np.arange(5) == best) - p[i])
    np.testing.assert_allclose(gradient(logits(), classes=INSIDE).numpy(), expected, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single_precision(dtype):
    found = priority(logits(dtype), LABELS, classes=INSIDE)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), by_hand(logits(dtype), INSIDE.numpy()), rtol=1e-5, atol=1e-6)
    assert gradient(logits(dtype), classes=INSIDE).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_logits_of_a_thousand_are_finite(dtype):
    student = torch.tensor([[1000.0, -1000.0, 0.0]], dtype=dtype)
    found = priority(student, LABELS[:1], classes=torch.tensor([True, False, False]))
    assert found.tolist() == [0]
    assert math.isfinite(priority(-student, LABELS[:1], classes=torch.arange(3) == 0).item())


@pytest.mark.parametrize("classes", [None, torch.ones(5, dtype=torch.bool)], ids=["none", "all"])
def test_half_precision_gives_single_precision_where_nothing_can_be_won(classes):
    assert priority(logits(torch.float16), LABELS, classes=classes).dtype == torch.float32


def test_a_gradient_of_zero_where_nothing_can_be_won():
    assert not gradient(logits()).any()


def test_a_sample_with_every_class_has_nothing_to_win_beside_others():
    masks = torch.stack([torch.ones(5, dtype=torch.bool), INSIDE])
    assert priority(torch.zeros(2, 5), LABELS[:2], classes=masks)[0].item() == 0
