"""What the temperature does to soft targets, exactly, and what popular code gets wrong (arXiv:1503.02531)."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from ckd.losses import dist, kd, soft_cross_entropy

BOTH = pytest.mark.parametrize("loss", [kd, soft_cross_entropy])
B, C = 6, 5


def logits(scale=2.0):
    """Student and teacher, each sample's logits with the mean 0."""
    z = scale * torch.randn(2, B, C, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    student, teacher = z - z.mean(2, keepdim=True)
    return student.requires_grad_(), teacher


def gradient(value, student):
    return torch.autograd.grad(value.sum(), student)[0]


@BOTH
@pytest.mark.parametrize("t", [0.5, 1.0, 4.0, 20.0])
def test_without_the_factor_the_gradient_is_the_gap_of_probabilities_over_the_temperature(loss, t):
    student, teacher = logits()
    gap = softmax(student.detach().numpy() / t, axis=1) - softmax(teacher.numpy() / t, axis=1)
    found = gradient(loss(student, teacher, temperature=t) / t**2, student)
    np.testing.assert_allclose(found, gap / t, rtol=1e-9, atol=1e-15)


@BOTH
@pytest.mark.parametrize("t", [0.5, 1.0, 4.0, 20.0])
def test_the_two_losses_differ_by_the_teachers_entropy_and_in_no_gradient(loss, t):
    student, teacher = logits()
    p = softmax(teacher.numpy() / t, axis=1)
    gap = (soft_cross_entropy(student, teacher, temperature=t) - kd(student, teacher, temperature=t)).detach()
    np.testing.assert_allclose(gap, -(t**2) * (p * np.log(p)).sum(1), rtol=1e-9)
    found = gradient(loss(student, teacher, temperature=t), student)
    np.testing.assert_allclose(found, gradient(kd(student, teacher, temperature=t), student), rtol=1e-9, atol=1e-15)


@BOTH
@pytest.mark.parametrize("t", [1.0, 3.0, 10.0])
def test_without_the_factor_the_curvature_is_that_of_the_softmax_over_the_temperature_squared(loss, t):
    student, teacher = logits()
    p = softmax(student.detach().numpy()[0] / t)
    found = torch.autograd.functional.hessian(lambda z: loss(z[None], teacher[:1], temperature=t).sum(), student[0])
    np.testing.assert_allclose(found, np.diag(p) - np.outer(p, p), atol=1e-12)  # with the factor no 1 / t² is left


@BOTH
def test_the_curvature_falls_with_the_square_and_the_factor_keeps_its_size(loss):
    student, teacher = logits()
    norms = []
    for t in (100.0, 200.0):
        hessian = torch.autograd.functional.hessian(lambda z, t=t: loss(z, teacher, temperature=t).sum(), student)
        norms.append(hessian.norm().item())
    assert norms[1] == pytest.approx(norms[0], rel=1e-2)
    assert norms[1] / 200**2 == pytest.approx(norms[0] / 100**2 / 4, rel=1e-2)


@BOTH
def test_at_high_temperature_the_gradient_is_that_of_matching_zero_mean_logits(loss):
    """Eq. 4: (z_S - z_T) / (C T²), whose relative distance falls as 1 / T."""
    student, teacher = logits()
    distances = []
    for t in (5.0, 50.0, 500.0):
        limit = (student - teacher).detach() / (C * t**2)
        found = gradient(loss(student, teacher, temperature=t) / t**2, student)
        distances.append(((found - limit).norm() / limit.norm()).item())
    assert distances[1] < 0.2 * distances[0]
    assert distances[2] == pytest.approx(distances[1] / 10, rel=0.1)


# what popular code gets wrong --------------------------------------------------------------------------------------


@BOTH
def test_there_is_no_mean_over_classes(loss):
    """A class that neither network thinks possible changes nothing; a mean over C + 1 classes would."""
    student, teacher = logits()
    wider = [torch.cat([z.detach(), torch.full((B, 1), -500.0, dtype=z.dtype)], 1) for z in (student, teacher)]
    torch.testing.assert_close(loss(*wider, temperature=4.0), loss(student, teacher, temperature=4.0).detach())


@BOTH
@pytest.mark.parametrize("masked", [False, True])
def test_the_factor_is_on_every_path(loss, masked):
    """Logits and temperature ten times as large give a hundred times the loss, with and without classes."""
    student, teacher = logits()
    classes = torch.arange(C) < 3 if masked else None
    small = loss(student, teacher, temperature=0.7, classes=classes)
    large = loss(10 * student, 10 * teacher, temperature=7.0, classes=classes)
    torch.testing.assert_close(large, 100 * small)
    lone = torch.arange(C) == 1
    if masked:
        small, large = (loss(s * student, s * teacher, temperature=0.7 * s, classes=lone) for s in (1, 10))
        torch.testing.assert_close(large, 100 * small)


@BOTH
def test_no_logarithm_of_a_probability_that_underflows(loss):
    """exp(-2000) is 0, and log(softmax) minus infinity: the loss is the gap itself."""
    student = torch.tensor([[0.0, 2000.0]], requires_grad=True)
    value = loss(student, torch.tensor([[2000.0, 0.0]]), temperature=1.0)
    assert value.item() == 2000
    assert gradient(value, student).tolist() == [[-1.0, 1.0]]


def test_correlation_lowers_the_loss():
    student, teacher = logits()
    like, unlike = (dist(sign * teacher, teacher, temperature=4.0).detach() for sign in (1, -1))
    assert like.abs().max() < 1e-9
    assert (unlike > dist(student, teacher, temperature=4.0)).all()


@BOTH
def test_samples_are_masked_before_anything_is_averaged(loss):
    """A sample without a class adds neither value nor gradient, and takes neither from the others."""
    student, teacher = logits()
    masks = torch.ones(B, C, dtype=torch.bool)
    masks[[1, 4]] = False
    kept = [0, 2, 3, 5]
    found, alone = loss(student, teacher, classes=masks), loss(student[kept], teacher[kept])
    torch.testing.assert_close(found[kept], alone)
    assert found[[1, 4]].tolist() == [0, 0]
    torch.testing.assert_close(gradient(found, student), gradient(alone, student))
