"""symmetric_kl, probability_mse, hinge and standardised logits against scipy, numpy and loops."""

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax
from scipy.stats import zscore

from ckd.errors import ConfigError
from ckd.losses import Standardised, hinge, kd, logit_mse, probability_mse, standardised, symmetric_kl


def logits(size=6, classes=5):
    drawn = 2 * torch.randn(2, size, classes, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return drawn[0], drawn[1]


@pytest.mark.parametrize("balance", [0.0, 0.3, 2.0])
def test_symmetric_kl_is_both_of_scipys_divergences(balance):
    student, teacher = logits()
    p, q = softmax(student.numpy() / 3, axis=1), softmax(teacher.numpy() / 3, axis=1)
    wanted = 9 * (rel_entr(q, p).sum(1) + balance * rel_entr(p, q).sum(1))
    np.testing.assert_allclose(symmetric_kl(student, teacher, balance=balance, temperature=3.0), wanted, rtol=1e-10)


@pytest.mark.parametrize(("balance", "calls"), [(0, 1), (0.5, 2)])
def test_a_direction_of_weight_0_costs_nothing(monkeypatch, balance, calls):
    made = []
    monkeypatch.setattr("ckd.losses._symmetric_kl.kd", lambda *args, **settings: made.append(args) or kd(*args))
    symmetric_kl(*logits(), balance=balance)
    assert len(made) == calls


def test_symmetric_kl_is_symmetric_at_balance_1():
    student, teacher = logits()
    torch.testing.assert_close(symmetric_kl(student, teacher), symmetric_kl(teacher, student))


def test_probability_mse_is_numpys():
    student, teacher = logits()
    wanted = ((softmax(student.numpy() / 2, axis=1) - softmax(teacher.numpy() / 2, axis=1)) ** 2).mean(1)
    np.testing.assert_allclose(probability_mse(student, teacher, temperature=2.0), wanted, rtol=1e-10)


@pytest.mark.parametrize(("margin", "balance"), [(0.0, 1.0), (0.5, 0.2), (-0.5, 3.0)])
def test_hinge_is_the_loop(margin, balance):
    student, teacher = logits()
    wanted = [
        np.mean([max(0, b - a + margin) + balance * max(0, a - b + margin) for a, b in zip(s, t, strict=True)])
        for s, t in zip(student.tolist(), teacher.tolist(), strict=True)
    ]
    np.testing.assert_allclose(hinge(student, teacher, margin=margin, balance=balance), wanted, rtol=1e-12)


def test_a_negative_margin_leaves_small_gaps_alone():
    student = torch.zeros(1, 2, requires_grad=True)
    loss = hinge(student, torch.tensor([[0.4, -0.4]]), margin=-0.5)
    loss.sum().backward()
    assert loss.item() == 0
    assert not student.grad.any()


def test_standardised_logits_are_scipys_zscores():
    student, _ = logits()
    np.testing.assert_allclose(standardised(student), zscore(student.numpy(), axis=1, ddof=1), rtol=1e-6)
    mask = torch.tensor([True, False, True, True, False])
    found = standardised(student, mask)
    np.testing.assert_allclose(found[:, mask], zscore(student.numpy()[:, [0, 2, 3]], axis=1, ddof=1), rtol=1e-6)
    assert not found[:, ~mask].any()


def test_shift_and_scale_of_either_network_do_not_matter():
    student, teacher = logits()
    for loss in (kd, logit_mse):
        wanted = Standardised(loss)(student, teacher)
        torch.testing.assert_close(Standardised(loss)(3 * student + 2, teacher), wanted, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(Standardised(loss)(student, 0.5 * teacher - 9), wanted, rtol=1e-6, atol=1e-8)


def test_constant_logits_have_no_shape_and_stay_finite():
    student = torch.full((2, 3), 4.0, requires_grad=True)
    loss = Standardised(kd)(student, torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]))
    loss.sum().backward()
    assert student.grad.isfinite().all()
    assert loss[1].item() == 0


@pytest.mark.parametrize(
    ("loss", "wrong"),
    [
        (symmetric_kl, {"balance": -1.0}),
        (hinge, {"balance": float("nan")}),
        (hinge, {"margin": float("inf")}),
        (probability_mse, {"temperature": 0.0}),
    ],
)
def test_wrong_settings_are_refused(loss, wrong):
    with pytest.raises(ConfigError):
        loss(*logits(), **wrong)
