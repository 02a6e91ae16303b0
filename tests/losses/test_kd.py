"""kd and soft_cross_entropy against scipy, closed forms and limits."""

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax, rel_entr, softmax
from scipy.stats import entropy
from torch.nn import functional as F

from ckd.errors import CkdError, ConfigError
from ckd.losses import kd, soft_cross_entropy

BOTH = pytest.mark.parametrize("loss", [kd, soft_cross_entropy])
TEMPERATURES = pytest.mark.parametrize("temperature", [0.25, 1.0, 2.0, 10.0])


def logits(batch=6, classes=5, seed=0, dtype=torch.float64):
    """Two independent tables of logits, student and teacher."""
    drawn = 2 * torch.randn(2, batch, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn[0].to(dtype), drawn[1].to(dtype)


def scipy_kd(student, teacher, temperature):
    p_teacher = softmax(teacher.double().numpy() / temperature, axis=1)
    p_student = softmax(student.double().numpy() / temperature, axis=1)
    return temperature**2 * entropy(p_teacher, p_student, axis=1)


def gradient(loss, student, teacher, **settings):
    student = student.clone().requires_grad_()
    loss(student, teacher, **settings).sum().backward()
    return student.grad


@TEMPERATURES
def test_kd_is_scipys_relative_entropy_times_temperature_squared(temperature):
    student, teacher = logits()
    found = kd(student, teacher, temperature=temperature)
    np.testing.assert_allclose(found.numpy(), scipy_kd(student, teacher, temperature), rtol=1e-9)


@TEMPERATURES
def test_the_mean_of_kd_is_torchs_batch_mean_of_the_divergence_times_temperature_squared(temperature):
    student, teacher = logits()
    softened = (student / temperature).log_softmax(1), (teacher / temperature).softmax(1)
    expected = temperature**2 * F.kl_div(*softened, reduction="batchmean")
    torch.testing.assert_close(kd(student, teacher, temperature=temperature).mean(), expected)


@TEMPERATURES
def test_soft_cross_entropy_is_scipys_cross_entropy_of_softened_predictions(temperature):
    student, teacher = logits()
    p_teacher = softmax(teacher.numpy() / temperature, axis=1)
    log_p_student = log_softmax(student.numpy() / temperature, axis=1)
    expected = -(temperature**2) * (p_teacher * log_p_student).sum(1)
    found = soft_cross_entropy(student, teacher, temperature=temperature)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


def test_the_default_temperature_is_two():
    student, teacher = logits()
    np.testing.assert_allclose(kd(student, teacher).numpy(), scipy_kd(student, teacher, 2.0), rtol=1e-9)


@BOTH
@TEMPERATURES
def test_gradient_is_temperature_times_the_difference_of_probabilities(loss, temperature):
    student, teacher = logits()
    p_teacher, p_student = (softmax(z.numpy() / temperature, axis=1) for z in (teacher, student))
    found = gradient(loss, student, teacher, temperature=temperature)
    np.testing.assert_allclose(found.numpy(), temperature * (p_student - p_teacher), rtol=1e-9, atol=1e-14)


def test_kd_and_soft_cross_entropy_have_the_same_gradient():
    student, teacher = logits()
    torch.testing.assert_close(gradient(kd, student, teacher), gradient(soft_cross_entropy, student, teacher))


def test_at_high_temperature_kd_of_centred_logits_is_half_their_mean_squared_gap():
    student, teacher = (z - z.mean(1, keepdim=True) for z in logits())
    limit = ((student - teacher) ** 2).sum(1).numpy() / (2 * student.shape[1])
    errors = [np.abs(kd(student, teacher, temperature=t).numpy() - limit).max() for t in (10, 100, 1000)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 2e-2 * limit.max()


def test_size_of_the_gradient_hardly_depends_on_the_temperature():
    student, teacher = logits(batch=64, classes=10)
    norms = [float(gradient(kd, student, teacher, temperature=t).norm()) for t in (1.0, 2.0, 4.0, 10.0)]
    assert max(norms) / min(norms) < 3  # without the factor T² it would fall by about 100


@BOTH
def test_a_mask_over_classes_is_the_same_as_slicing_the_columns(loss):
    student, teacher = logits(dtype=torch.float32)
    mask = torch.tensor([True, False, True, True, False])
    torch.testing.assert_close(loss(student, teacher, classes=mask), loss(student[:, mask], teacher[:, mask]))
    sliced = gradient(loss, student[:, mask], teacher[:, mask])
    masked = gradient(loss, student, teacher, classes=mask)
    torch.testing.assert_close(masked[:, mask], sliced)
    assert not masked[:, ~mask].any()


@BOTH
def test_a_mask_for_each_sample_is_the_same_as_slicing_row_by_row(loss):
    student, teacher = logits(batch=3, dtype=torch.float32)
    masks = torch.tensor([[1, 1, 0, 0, 1], [0, 1, 1, 1, 1], [1, 1, 1, 1, 1]], dtype=torch.bool)
    rows = [loss(student[i : i + 1, m], teacher[i : i + 1, m]) for i, m in enumerate(masks)]
    torch.testing.assert_close(loss(student, teacher, classes=masks), torch.cat(rows))


def lone_class_forms(width=4):
    """The same lone class 2, as a mask (C,), a mask (B, C) and a head of one unit."""
    mask = torch.arange(width) == 2
    return [pytest.param(mask, id="C"), pytest.param(mask.expand(6, width), id="BxC"), pytest.param(None, id="C==1")]


@pytest.mark.parametrize("classes", lone_class_forms())
@TEMPERATURES
def test_a_lone_class_is_compared_as_a_bernoulli_distribution(classes, temperature):
    student, teacher = logits(classes=4, dtype=torch.float32)
    p, q = (expit(z[:, 2].double().numpy() / temperature) for z in (teacher, student))
    expected = temperature**2 * (rel_entr(p, q) + rel_entr(1 - p, 1 - q))
    if classes is None:
        student, teacher = student[:, 2:3], teacher[:, 2:3]
    found = kd(student, teacher, temperature=temperature, classes=classes)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert (gradient(kd, student, teacher, classes=classes).abs().sum(1) > 0).all()


def test_lone_and_several_classes_mix_within_a_batch():
    student, teacher = logits(batch=2, classes=3, dtype=torch.float32)
    masks = torch.tensor([[False, True, False], [True, True, False]])
    found = kd(student, teacher, classes=masks)
    lone = kd(student[:1, 1:2], teacher[:1, 1:2])
    several = kd(student[1:, :2], teacher[1:, :2])
    torch.testing.assert_close(found, torch.cat([lone, several]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("temperature", [0.3, 2.0, 3.0])
def test_half_precision_is_computed_in_single_precision(dtype, temperature):
    student, teacher = logits(dtype=dtype)
    found = kd(student, teacher, temperature=temperature)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), scipy_kd(student, teacher, temperature), rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_gap_of_a_thousand_gives_the_closed_form(dtype):
    teacher = torch.tensor([[1000.0, 0.0]], dtype=dtype)
    student = torch.tensor([[0.0, 1000.0]], dtype=dtype)
    assert float(kd(student, teacher, temperature=2.0)) == pytest.approx(2**2 * 500)  # T² · gap / T
    np.testing.assert_allclose(gradient(kd, student, teacher, temperature=2.0).float(), [[-2.0, 2.0]])  # T (q - p)


@BOTH
@pytest.mark.parametrize("temperature", [0.01, 0.5, 1.0, 4.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_masked_units_at_minus_a_thousand_cost_neither_value_nor_gradient(loss, temperature, dtype):
    student, teacher = logits(dtype=dtype)
    mask = torch.tensor([True, True, False, False, True])
    expected = loss(student[:, mask], teacher[:, mask], temperature=temperature)
    student[:, 2:4] = -1000
    teacher[:, 3] = -1000
    found = loss(student, teacher, temperature=temperature, classes=mask)
    torch.testing.assert_close(found, expected)
    assert gradient(loss, student, teacher, temperature=temperature, classes=mask).isfinite().all()


@BOTH
@pytest.mark.parametrize("temperature", [0.1, 1.0, 2.0])
def test_unmasked_gap_of_a_thousand_stays_finite(loss, temperature):
    student, teacher = logits(dtype=torch.float32)
    student[:, 0], teacher[:, 1] = -1000, 1000
    assert loss(student, teacher, temperature=temperature).isfinite().all()
    assert gradient(loss, student, teacher, temperature=temperature).isfinite().all()


@TEMPERATURES
def test_kd_of_shifted_logits_is_zero(temperature):
    student, _ = logits()
    shift = torch.linspace(-9, 9, len(student), dtype=torch.float64)[:, None]
    found = kd(student, student + shift, temperature=temperature)
    np.testing.assert_allclose(found.numpy(), 0, atol=1e-12)


def test_divergence_is_from_the_teacher_to_the_student():
    sure, unsure = torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    assert float(kd(unsure, sure)) == pytest.approx(scipy_kd(unsure, sure, 2.0)[0], rel=1e-5)
    assert float(kd(unsure, sure)) != pytest.approx(float(kd(sure, unsure)), rel=1e-2)


@BOTH
@pytest.mark.parametrize("temperature", [0, 0.0, -1.0, float("nan"), float("-inf"), float("inf")])
def test_temperature_that_is_not_above_zero_is_refused(loss, temperature):
    with pytest.raises(ConfigError, match="temperature: expected a finite number above 0") as caught:
        loss(*logits(), temperature=temperature)
    assert isinstance(caught.value, CkdError)


@BOTH
@pytest.mark.parametrize("shape", [(6, 4), (5, 5), (6, 5, 1), (5,), (6, 1)])
def test_shapes_that_differ_are_refused(loss, shape):
    with pytest.raises(ConfigError, match=r"student logits of shape \(6, 5\)"):
        loss(logits()[0], torch.zeros(shape))
