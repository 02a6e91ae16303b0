"""dist against numpy's correlation."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from ckd.errors import ConfigError
from ckd.losses import dist


def logits(size=6, classes=5):
    drawn = 2 * torch.randn(2, size, classes, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return drawn[0], drawn[1]


def by_hand(student, teacher, beta, gamma, t):
    p, q = softmax(student.numpy() / t, axis=1), softmax(teacher.numpy() / t, axis=1)
    of_sample = np.array([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(p, q, strict=True)])
    of_class = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, q.T, strict=True)])
    return t**2 * (beta * of_sample + gamma * of_class)


@pytest.mark.parametrize(("beta", "gamma", "t"), [(2.0, 2.0, 4.0), (1.0, 0.0, 1.0), (0.0, 3.0, 2.0)])
def test_it_is_one_minus_numpys_correlation_and_no_correlation_is_added(beta, gamma, t):
    student, teacher = logits()
    found = dist(student, teacher, sample_weight=beta, class_weight=gamma, temperature=t)
    np.testing.assert_allclose(found.numpy(), by_hand(student, teacher, beta, gamma, t), rtol=1e-10)


def test_any_rising_straight_line_of_probabilities_agrees():
    q = torch.rand(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(1)
    p = 0.5 * q + 0.5 / 6
    found = dist(p.log(), q.log(), temperature=1.0)
    torch.testing.assert_close(found, torch.zeros_like(found), atol=1e-12, rtol=0)


def test_masks_of_each_sample_count_a_class_where_it_is_known():
    student, teacher = logits(4, 3)
    masks = torch.tensor([[1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]], dtype=torch.bool)
    found = dist(student, teacher, classes=masks, sample_weight=0.0, class_weight=1.0, temperature=1.0)
    p, q = (z.masked_fill(~masks, -torch.inf).softmax(1).numpy() for z in (student, teacher))
    wanted = np.mean(
        [
            1 - np.corrcoef(p[rows, c], q[rows, c])[0, 1]
            for c, rows in ((0, [0, 1, 2, 3]), (1, [0, 1, 2, 3]), (2, [2, 3]))
        ]
    )
    np.testing.assert_allclose(found.numpy(), np.full(4, wanted))


def test_a_batch_of_one_and_constant_predictions_have_nothing_to_correlate():
    one = torch.tensor([[1.0, 0.0, 2.0]])
    assert dist(one, one.flip(1), sample_weight=0.0).tolist() == [0.0]
    flat = torch.zeros(3, 4, requires_grad=True)
    dist(flat, torch.randn(3, 4)).sum().backward()
    assert flat.grad.isfinite().all()


@pytest.mark.parametrize("wrong", [{"sample_weight": -1.0}, {"class_weight": float("inf")}, {"temperature": -1.0}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ConfigError):
        dist(*logits(), **wrong)


def test_one_sample_that_is_constant_is_left_out_and_no_other():
    """Its correlation has no value; the loss is that of the others."""
    student, teacher = torch.randn(4, 3), torch.randn(4, 3)
    student[1] = 0.5
    found = dist(student, teacher, class_weight=0.0)
    assert found[1] == 0
    rows = [0, 2, 3]
    torch.testing.assert_close(found[rows], dist(student[rows], teacher[rows], class_weight=0.0))
