"""dkd against scipy, and against kd, of which it is a part."""

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

from ckd.errors import ConfigError
from ckd.losses import dkd, kd

LABELS = torch.tensor([0, 1, 2, 4, 3, 2])


def logits(size=6, classes=5):
    drawn = 3 * torch.randn(2, size, classes, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return drawn[0], drawn[1]


def by_hand(student, teacher, labels, alpha, beta, t):
    """The authors' formula, a sample at a time."""
    found = []
    for s, z, y in zip(student.numpy(), teacher.numpy(), labels.tolist(), strict=True):
        p, q = softmax(s / t), softmax(z / t)
        target = rel_entr([q[y], 1 - q[y]], [p[y], 1 - p[y]]).sum()
        others = rel_entr(softmax(np.delete(z, y) / t), softmax(np.delete(s, y) / t)).sum()
        found.append(t**2 * (alpha * target + beta * others))
    return np.array(found)


@pytest.mark.parametrize(("alpha", "beta", "t"), [(1.0, 8.0, 4.0), (0.5, 0.0, 1.0), (0.0, 2.0, 2.0)])
def test_it_is_the_authors_formula(alpha, beta, t):
    student, teacher = logits()
    found = dkd(student, teacher, labels=LABELS, target_weight=alpha, other_weight=beta, temperature=t)
    np.testing.assert_allclose(found.numpy(), by_hand(student, teacher, LABELS, alpha, beta, t), rtol=1e-10, atol=1e-12)


def test_with_the_teachers_own_weight_it_is_kd():
    student, teacher = logits()
    for i, label in enumerate(LABELS.tolist()):
        rest = 1 - float((teacher[i] / 4).softmax(0)[label])
        found = dkd(student[i : i + 1], teacher[i : i + 1], labels=LABELS[i : i + 1], other_weight=rest)
        torch.testing.assert_close(found, kd(student[i : i + 1], teacher[i : i + 1], temperature=4.0))


def test_the_weight_of_the_others_does_not_fall_with_the_teachers_confidence():
    student, teacher = logits(1, 5)
    sure = teacher.clone()
    sure[0, 2] += 20
    label = torch.tensor([2])
    values = [dkd(student, t, labels=label, target_weight=0.0) for t in (teacher, sure)]
    torch.testing.assert_close(*values)
    assert kd(student, sure, temperature=4.0) < 100 * values[1]


def test_a_label_outside_the_classes_leaves_the_divergence_among_them():
    student, teacher = logits()
    mask = torch.tensor([True, True, False, True, False])
    outside = torch.full((6,), 4)
    found = dkd(student, teacher, labels=outside, classes=mask, temperature=2.0, other_weight=1.0)
    torch.testing.assert_close(found, kd(student, teacher, classes=mask, temperature=2.0))
    beyond = dkd(student, teacher, labels=torch.full((6,), 9), temperature=2.0, other_weight=1.0)
    torch.testing.assert_close(beyond, kd(student, teacher, temperature=2.0))


def test_two_classes_have_no_others_to_compare():
    student, teacher = logits(3, 2)
    labels = torch.tensor([0, 1, 0])
    torch.testing.assert_close(dkd(student, teacher, labels=labels), kd(student, teacher, temperature=4.0))


@pytest.mark.parametrize("wrong", [{"target_weight": -1.0}, {"other_weight": float("nan")}, {"temperature": 0.0}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ConfigError):
        dkd(*logits(), labels=LABELS, **wrong)


@pytest.mark.parametrize("label", [-1, 5])
def test_a_label_that_no_class_has_leaves_the_divergence_among_all(label):
    student, teacher = logits()
    found = dkd(student, teacher, labels=torch.full((6,), label), temperature=2.0, other_weight=3.0)
    torch.testing.assert_close(found, 3 * kd(student, teacher, temperature=2.0))


@pytest.mark.parametrize("allowed", [[2], [2, 4]])
def test_with_one_or_no_other_class_there_is_nothing_among_them(allowed):
    student, teacher = logits()
    student.requires_grad_()
    mask = torch.zeros(5, dtype=torch.bool)
    mask[allowed] = True
    found = dkd(student, teacher, labels=torch.full((6,), 2), classes=mask, target_weight=0.0)
    found.sum().backward()
    assert not found.any()
    assert not student.grad.any()
