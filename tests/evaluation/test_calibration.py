"""Calibration, likelihood and Brier score: torchmetrics, scikit-learn and loops as oracles."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from ckd.evaluation.calibration import brier_score, expected_calibration_error, negative_log_likelihood, reliability
from ckd.evaluation.predictions import Kept, gather, read


def predictions_of(logits, labels, known=None):
    known = torch.arange(logits.shape[1]) if known is None else known
    return gather({1: {0: Kept.of(labels, *read(logits, labels, known))}})


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(500, 7, generator=generator)
    return logits, torch.randint(7, (500,), generator=generator)


def test_against_other_libraries(case):
    logits, labels = case
    found = predictions_of(logits, labels)
    p = logits.softmax(1)
    wanted = multiclass_calibration_error(p, labels, num_classes=7, n_bins=15)
    assert expected_calibration_error(found) == pytest.approx(float(wanted), abs=1e-3)
    assert negative_log_likelihood(found) == pytest.approx(
        log_loss(labels, logits.double().softmax(1).numpy()), rel=1e-3
    )
    brier = sum(((p[i] - torch.eye(7)[labels[i]]) ** 2).sum() for i in range(500)) / 500
    assert brier_score(found) == pytest.approx(float(brier), abs=1e-3)


def test_worked_example():
    # two sure and right, two at 0.75 of which one is right: bins 0.75 (gap 0.25, half of the samples) and 1.0 (gap 0)
    sure, unsure = [50.0, 0.0], [np.log(3.0), 0.0]
    found = predictions_of(torch.tensor([sure, sure, unsure, unsure]), torch.tensor([0, 0, 0, 1]))
    assert expected_calibration_error(found) == pytest.approx(0.125, abs=1e-3)
    assert negative_log_likelihood(found) == pytest.approx(-(np.log(0.75) + np.log(0.25)) / 4, abs=1e-3)
    assert brier_score(found) == pytest.approx((2 * 0.25**2 + 2 * 0.75**2) / 4, abs=1e-3)
    shown = reliability(found)
    assert shown[11] == pytest.approx([0.75, 0.5, 0.5], abs=1e-3)
    assert shown[14] == pytest.approx([1, 1, 0.5], abs=1e-3)
    assert np.isnan(shown[0, :2]).all()
    assert shown[0, 2] == 0


@pytest.mark.parametrize("p", [0.99975, 0.9998, 0.99985, 0.99999, 0.6])
def test_the_brier_score_is_not_below_0_where_all_are_sure(p):
    found = predictions_of(torch.tensor([[np.log(p), np.log(1 - p)]] * 9).float(), torch.zeros(9, dtype=torch.int64))
    assert (1 - p) ** 2 * 0.99 <= brier_score(found) <= 2 * (1 - p) ** 2 + 5e-4  # float16 is as exact


def test_a_label_without_an_output_is_infinitely_unlikely():
    found = predictions_of(torch.zeros(2, 2), torch.tensor([0, 5]))
    assert negative_log_likelihood(found) == np.inf
    assert brier_score(found) == pytest.approx((0.5 + 1.5) / 2, abs=1e-3)


def test_what_was_not_evaluated_does_not_count(case):
    logits, labels = case
    kept = Kept.of(labels, *read(logits, labels, torch.arange(7)))
    wrong = Kept.of(labels, *read(-100 * torch.nn.functional.one_hot(labels, 7).float(), labels, torch.arange(7)))
    found = gather({1: {0: kept}, 2: {0: kept, 1: wrong}})
    alone = predictions_of(logits, labels)
    for score in (expected_calibration_error, negative_log_likelihood, brier_score):
        assert score(found, 0) == pytest.approx(score(alone))
        assert score(found, 1) != pytest.approx(score(alone))
