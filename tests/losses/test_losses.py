"""What every loss promises; a new one must enter the battery."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

import ckd.losses
from ckd.errors import ConfigError

B, C = 7, 4


def random_logits(seed):
    return torch.randn(B, C, generator=torch.Generator().manual_seed(seed))


def random_labels():
    return torch.tensor([0, 1, 2, 3, 2, 1, 0])


def sure_of(labels):
    """Logits that could not agree more with the labels."""
    return 60 * F.one_hot(labels, C).float()


def random_probabilities():
    return random_logits(1).sigmoid()


LOGITS = (partial(random_logits, 1), torch.clone)
LABELS = (random_labels, sure_of)
PROBABILITIES = (random_probabilities, torch.logit)
KINDS = {
    "binary_cross_entropy": PROBABILITIES,
    "cross_entropy": LABELS,
    "kd": LOGITS,
    "logit_adjusted_cross_entropy": LABELS,
    "logit_mse": LOGITS,
    "probability_distance": LOGITS,
    "soft_cross_entropy": LOGITS,
}
"""For each loss: how a target is made, and the student that agrees with it."""
SETTINGS = {"logit_adjusted_cross_entropy": {"prior": torch.tensor([4.0, 3.0, 2.0, 1.0])}}
"""Those without which a loss would count the batch."""

EVERY = pytest.mark.parametrize("name", KINDS)


def setup(name):
    """The loss, a student (B, C) that is not its target, a target, and a student that agrees."""
    target, agreeing = KINDS[name]
    loss = partial(getattr(ckd.losses, name), **SETTINGS.get(name, {}))
    return loss, random_logits(0), target(), agreeing(target())


def in_double(target):
    return target.double() if target.is_floating_point() else target


def gradient(loss, student, target, **settings):
    student = student.clone().requires_grad_()
    loss(student, target, **settings).sum().backward()
    return student.grad


def test_the_public_names_are_these():
    assert ckd.losses.__all__ == [
        "binary_cross_entropy",
        "binary_cross_entropy",
        "check_strength",
        "check_temperature",
        "cross_entropy",
        "cross_entropy",
        "feature_distance",
        "feature_distance",
        "kd",
        "kd",
        "logit_adjusted_cross_entropy",
        "logit_adjusted_cross_entropy",
        "logit_mse",
        "logit_mse",
        "priority",
        "probability_distance",
        "probability_distance",
        "soft_cross_entropy",
        "soft_cross_entropy",
    ]


def test_every_loss_is_in_this_battery():
    others = {"feature_distance", "priority"}  # without classes, without a target: own tests
    assert {name for name in ckd.losses.__all__ if name.endswith("_per_sample")} - others == set(KINDS)


@EVERY
def test_there_is_a_finite_value_of_at_least_zero_for_each_sample(name):
    loss, student, target, _ = setup(name)
    values = loss(student, target)
    assert values.shape == (B,)
    assert values.isfinite().all()
    assert (values >= 0).all()


@EVERY
def test_batch_version_is_the_mean(name):
    loss, student, target, _ = setup(name)
    batch_loss = partial(getattr(ckd.losses, name.removesuffix("_per_sample")), **SETTINGS.get(name, {}))
    for classes in (None, torch.arange(C) < 3):
        found = batch_loss(student, target, classes=classes)
        assert found.shape == ()
        torch.testing.assert_close(found, loss(student, target, classes=classes).sum() / B)


@EVERY
def test_agreement_gives_the_minimum(name):
    loss, _, target, agreeing = setup(name)
    least = loss(agreeing, target)
    torch.testing.assert_close(gradient(loss, agreeing, target), torch.zeros(B, C))
    for seed in range(5):
        assert (loss(agreeing + 30 * random_logits(seed + 10), target) >= least - 1e-6).all()


@EVERY
def test_gradient_is_that_of_finite_differences(name):
    loss, student, target, _ = setup(name)
    target = in_double(target)
    assert torch.autograd.gradcheck(lambda z: loss(z, target), student.double().requires_grad_())


@EVERY
def test_gradient_over_some_classes_is_that_of_finite_differences(name):
    loss, student, target, _ = setup(name)
    target, classes = in_double(target), torch.tensor([True, True, False, True])
    assert torch.autograd.gradcheck(lambda z: loss(z, target, classes=classes), student.double().requires_grad_())


@EVERY
def test_samples_do_not_see_each_other(name):
    loss, student, target, _ = setup(name)
    alone = [loss(student[i : i + 1], target[i : i + 1]) for i in range(B)]
    torch.testing.assert_close(loss(student, target), torch.cat(alone))


@EVERY
def test_a_mask_of_all_classes_changes_nothing(name):
    loss, student, target, _ = setup(name)
    everything = torch.ones(C, dtype=torch.bool)
    torch.testing.assert_close(loss(student, target, classes=everything), loss(student, target))


@EVERY
def test_one_mask_is_the_same_as_that_mask_for_each_sample(name):
    loss, student, target, _ = setup(name)
    mask = torch.tensor([True, False, True, True])
    torch.testing.assert_close(
        loss(student, target, classes=mask), loss(student, target, classes=mask.repeat(B, 1)), rtol=0, atol=0
    )


@EVERY
@pytest.mark.parametrize("garbage", [-1000.0, 1e30, float("nan"), float("-inf")])
def test_what_a_masked_unit_says_does_not_matter(name, garbage):
    loss, student, target, _ = setup(name)
    mask = torch.tensor([True, True, True, False])
    expected = loss(student, target, classes=mask)
    student[:, 3] = garbage
    torch.testing.assert_close(loss(student, target, classes=mask), expected, rtol=0, atol=0)
    found = gradient(loss, student, target, classes=mask)
    assert found.isfinite().all()
    assert not found[:, 3].any()


@EVERY
def test_a_row_without_any_class_is_worth_nothing_and_teaches_nothing(name):
    loss, student, target, _ = setup(name)
    masks = torch.ones(B, C, dtype=torch.bool)
    masks[2] = False
    assert not gradient(loss, student, target, classes=masks)[2].any()
    assert float(loss(student, target, classes=masks)[2]) == 0


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_finite_single_precision(name, dtype):
    loss, student, target, _ = setup(name)
    target = target.to(dtype) if target.is_floating_point() else target
    student = (100 * student).to(dtype)
    values = loss(student, target)
    assert values.dtype == torch.float32
    assert values.isfinite().all()
    assert gradient(loss, student, target).isfinite().all()


@EVERY
def test_double_precision_is_kept(name):
    loss, student, target, _ = setup(name)
    assert loss(student.double(), in_double(target)).dtype == torch.float64


@EVERY
def test_arguments_are_left_as_they_were(name):
    loss, student, target, _ = setup(name)
    mask = torch.tensor([True, False, True, True])
    before = [t.clone() for t in (student, target, mask)]
    loss(student, target, classes=mask)
    assert all(torch.equal(a, b) for a, b in zip(before, (student, target, mask), strict=True))


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind is not LABELS])
def test_logits_of_different_shapes_are_refused(name):
    loss, student, target, _ = setup(name)
    with pytest.raises(ConfigError, match="Slice both to the classes that they share"):
        loss(student, target[:, :-1])
