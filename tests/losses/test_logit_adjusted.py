"""logit_adjusted_cross_entropy against numpy, class by class."""

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch.nn import functional as F

from ckd.errors import ConfigError, DataError
from ckd.losses import logit_adjusted_cross_entropy

TARGETS = torch.tensor([0, 2, 2, 4, 2, 0])  # classes 1 and 3 do not occur
COUNTS = [2, 0, 3, 0, 1]
PRIOR = torch.tensor([0.1, 0.3, 0.2, 0.05, 0.35], dtype=torch.float64)
SOME = torch.tensor([True, False, True, True, False])


def logits(dtype=torch.float64):
    generator = torch.Generator().manual_seed(5)
    return (2 * torch.randn(6, 5, generator=generator, dtype=torch.float64)).to(dtype)


def by_hand(student, targets, prior, strength=1.0, masks=None):
    """One sample at a time, the softmax over the classes that are allowed and have a prior."""
    values = []
    for i, (z, y) in enumerate(zip(student.double().numpy(), targets.tolist(), strict=True)):
        allowed = [c for c, n in enumerate(prior) if n > 0 and (masks is None or masks[i][c])]
        adjusted = {c: z[c] + strength * math.log(prior[c]) for c in allowed}
        values.append(logsumexp(list(adjusted.values())) - adjusted[y] if y in adjusted else 0.0)
    return values


def gradient(student, targets, **settings):
    student = student.clone().requires_grad_()
    logit_adjusted_cross_entropy(student, targets, **settings).sum().backward()
    return student.grad


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 2.0])
def test_with_a_prior_it_is_the_formula(strength):
    found = logit_adjusted_cross_entropy(logits(), TARGETS, strength=strength, prior=PRIOR)
    np.testing.assert_allclose(found.numpy(), by_hand(logits(), TARGETS, PRIOR.tolist(), strength))


def test_worked_example():
    """Equal logits, seen three times as often: probabilities 1/4 and 3/4."""
    found = logit_adjusted_cross_entropy(torch.zeros(2, 2), torch.tensor([0, 1]), prior=torch.tensor([10, 30]))
    assert found.tolist() == pytest.approx([math.log(4), math.log(4 / 3)])


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 2.0])
def test_without_a_prior_the_batch_is_counted(strength):
    found = logit_adjusted_cross_entropy(logits(), TARGETS, strength=strength)
    np.testing.assert_allclose(found.numpy(), by_hand(logits(), TARGETS, COUNTS, strength))
    counted = logit_adjusted_cross_entropy(logits(), TARGETS, strength=strength, prior=torch.tensor(COUNTS))
    torch.testing.assert_close(found, counted, rtol=0, atol=0)


def test_strength_prior_and_mask_go_together():
    found = logit_adjusted_cross_entropy(logits(), TARGETS, strength=0.5, prior=PRIOR, classes=SOME)
    np.testing.assert_allclose(found.numpy(), by_hand(logits(), TARGETS, PRIOR.tolist(), 0.5, [SOME] * 6))


@pytest.mark.parametrize("factor", [1e-3, 7.0, 5e4])
def test_a_prior_counts_up_to_a_factor(factor):
    found = logit_adjusted_cross_entropy(logits(), TARGETS, prior=factor * PRIOR)
    torch.testing.assert_close(found, logit_adjusted_cross_entropy(logits(), TARGETS, prior=PRIOR))


def test_classes_that_are_equally_frequent_get_plain_cross_entropy():
    targets = torch.tensor([0, 1, 2, 3, 4, 0])
    found = logit_adjusted_cross_entropy(logits(), targets, strength=3.0, prior=torch.full((5,), 9))
    torch.testing.assert_close(found, F.cross_entropy(logits(), targets, reduction="none"))


def test_strength_0_is_plain_cross_entropy_among_the_classes_with_a_prior():
    found = logit_adjusted_cross_entropy(logits(), TARGETS, strength=0, prior=PRIOR)
    torch.testing.assert_close(found, F.cross_entropy(logits(), TARGETS, reduction="none"))
    found = logit_adjusted_cross_entropy(logits(), TARGETS, strength=0)
    torch.testing.assert_close(found, F.cross_entropy(logits()[:, [0, 2, 4]], TARGETS // 2, reduction="none"))


def test_a_class_of_prior_0_is_left_out_of_the_softmax():
    student, garbage = logits(), logits()
    garbage[:, [1, 3]] = 50.0
    found, unmoved = (logit_adjusted_cross_entropy(z, TARGETS) for z in (student, garbage))
    torch.testing.assert_close(found, unmoved, rtol=0, atol=0)
    assert not gradient(student, TARGETS)[:, [1, 3]].any()


def test_a_sample_whose_class_has_prior_0_is_worth_nothing_and_teaches_nothing():
    prior = torch.tensor([1, 1, 0, 1, 1])
    values = logit_adjusted_cross_entropy(logits(), TARGETS, prior=prior)
    assert (values == 0).tolist() == (TARGETS == 2).tolist()
    assert not gradient(logits(), TARGETS, prior=prior)[TARGETS == 2].any()


def test_it_is_the_limit_of_a_vanishing_prior():
    small = torch.tensor([2, 1e-200, 3, 1e-200, 1], dtype=torch.float64)
    torch.testing.assert_close(
        logit_adjusted_cross_entropy(logits(), TARGETS, prior=small),
        logit_adjusted_cross_entropy(logits(), TARGETS, prior=torch.tensor(COUNTS)),
    )


def test_the_gradient_is_adjusted_probability_less_label():
    adjusted = logits() + PRIOR.log()
    expected = adjusted.softmax(1) - F.one_hot(TARGETS, 5)
    torch.testing.assert_close(gradient(logits(), TARGETS, prior=PRIOR), expected)


@pytest.mark.parametrize("prior", [None, PRIOR], ids=["counts", "prior"])
def test_a_mask_restricts_the_softmax_further(prior):
    found = logit_adjusted_cross_entropy(logits(), TARGETS, prior=prior, classes=SOME)
    masks = [SOME.tolist()] * 6
    np.testing.assert_allclose(
        found.numpy(), by_hand(logits(), TARGETS, COUNTS if prior is None else PRIOR.tolist(), masks=masks)
    )
    assert found[3] == 0
    assert not gradient(logits(), TARGETS, prior=prior, classes=SOME)[:, ~SOME].any()


def test_each_sample_may_have_its_own_classes():
    masks = torch.rand(6, 5, generator=torch.Generator().manual_seed(0)) < 0.7
    masks[torch.arange(6), TARGETS] = torch.tensor([True, True, False, True, True, True])
    for prior, plain in ((None, COUNTS), (PRIOR, PRIOR.tolist())):
        found = logit_adjusted_cross_entropy(logits(), TARGETS, prior=prior, classes=masks)
        np.testing.assert_allclose(found.numpy(), by_hand(logits(), TARGETS, plain, masks=masks))
        assert not gradient(logits(), TARGETS, prior=prior, classes=masks)[~masks].any()


HALF = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])


@HALF
def test_half_precision_gives_single_precision(dtype):
    found = logit_adjusted_cross_entropy(logits(dtype), TARGETS)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), by_hand(logits(dtype), TARGETS, COUNTS), atol=0.05)


@HALF
def test_half_precision_is_computed_in_single_precision(dtype):
    found = logit_adjusted_cross_entropy(logits(dtype), TARGETS)
    np.testing.assert_allclose(found.numpy(), by_hand(logits(dtype), TARGETS, COUNTS), rtol=1e-4)


@pytest.mark.parametrize("prior", [[70_000.0, 1, 50_000, 1, 10], [1e-9, 0.3, 0.2, 0.1, 0.4]])
def test_half_precision_takes_any_prior(prior):
    found = logit_adjusted_cross_entropy(logits(torch.float16), TARGETS, prior=torch.tensor(prior))
    np.testing.assert_allclose(found.numpy(), by_hand(logits(torch.float16), TARGETS, prior), rtol=1e-3)


@pytest.mark.parametrize("strength", [-0.1, math.nan, math.inf])
def test_a_strength_that_is_no_number_from_0_is_refused(strength):
    with pytest.raises(ConfigError, match="strength of the adjustment: expected 0 or more"):
        logit_adjusted_cross_entropy(logits(), TARGETS, strength=strength)


@pytest.mark.parametrize("shape", [(4,), (6,), (6, 5), (1, 5), ()])
def test_a_prior_that_is_not_one_number_a_class_is_refused(shape):
    with pytest.raises(ConfigError, match="Count all classes"):
        logit_adjusted_cross_entropy(logits(), TARGETS, prior=torch.ones(shape))


@pytest.mark.parametrize(("prior", "label"), [(None, 5), (PRIOR, 5), (PRIOR, -1)])
def test_labels_out_of_range_are_refused(prior, label):
    with pytest.raises(DataError, match="class indices from 0 to 4"):
        logit_adjusted_cross_entropy(logits(), TARGETS.clone().index_fill_(0, torch.tensor(3), label), prior=prior)


def test_a_negative_label_is_refused_when_the_batch_is_counted():
    with pytest.raises(DataError, match="class indices from 0 to 4"):
        logit_adjusted_cross_entropy(logits(), torch.tensor([0, 2, -1, 4, 2, 0]))


def test_whole_numbers_as_a_prior_cost_no_precision():
    counts, targets = torch.tensor([7, 300, 11, 2, 5]), torch.tensor([0, 1, 2, 3, 4, 0])
    found, exact = (logit_adjusted_cross_entropy(logits(), targets, prior=prior) for prior in (counts, counts.double()))
    torch.testing.assert_close(found, exact, rtol=1e-14, atol=0)
