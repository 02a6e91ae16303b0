"""What every loss of the library promises; a new one must enter this battery."""

import doctest
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
    """Logits that agree with the labels as far as logits can."""
    return 60 * F.one_hot(labels, C).float()


def random_probabilities():
    return random_logits(1).sigmoid()


def random_distributions():
    return random_logits(1).softmax(1)


def dkd_of_two_labels(student, target, **settings):
    """dkd, labelled 0 or 1 by the student, so that it is a function of logits alone."""
    labels = (student[:, 0] < student[:, 1]).long()
    return ckd.losses.dkd(student, target, labels=labels, other_weight=1.0, temperature=2.0, **settings)


LOGITS = (partial(random_logits, 1), torch.clone)
LABELS = (random_labels, sure_of)
PROBABILITIES = (random_probabilities, torch.logit)
KINDS = {
    "binary_cross_entropy": PROBABILITIES,
    "cross_entropy": LABELS,
    "cross_entropy, class probabilities": (random_distributions, torch.log),
    "cosine_distance": LOGITS,  # any numbers are features
    "dist": LOGITS,
    "dkd": LOGITS,
    "feature_distance": LOGITS,
    "feature_mse": LOGITS,
    "hierarchical_context": LOGITS,
    "hinge": LOGITS,
    "kd": LOGITS,
    "logit_adjusted_cross_entropy": LABELS,
    "logit_mse": LOGITS,
    "priority": (random_labels, lambda labels: sure_of(torch.zeros_like(labels))),
    "probability_distance": LOGITS,
    "probability_mse": LOGITS,
    "soft_cross_entropy": LOGITS,
    "standardised kd": LOGITS,
    "symmetric_kl": LOGITS,
}
"""For each loss, and each kind of target that it takes: how one is made, and the student that agrees with it."""
SETTINGS = {
    "logit_adjusted_cross_entropy": {"prior": torch.tensor([4.0, 3.0, 2.0, 1.0])},  # else it counts the batch
    "priority": {"classes": torch.tensor([True, True, False, True])},  # else it is 0
}
"""Settings that make a loss a function of each sample alone."""

MADE = {"dkd": dkd_of_two_labels, "standardised kd": ckd.losses.Standardised(ckd.losses.kd)}
"""Losses that are more than a function of `ckd.losses`."""

FEATURES = ("cosine_distance", "feature_distance", "feature_mse", "hierarchical_context")
RELATIONS = ("relational_angle", "relational_distance", "similarity")
"""Between the samples of a batch, of features: tested by themselves, as is attention, which is of maps."""

TOKENS = ("attention_score_mse", "token_mse")
"""Of what networks say of each token, and of the tokens: tested by themselves."""

EVERY = pytest.mark.parametrize("name", KINDS)
MASKED = [name for name in KINDS if name not in (*FEATURES, "priority")]
"""Those that ignore what is outside `classes`: features have no classes, and priority compares with the outside."""
EVERY_MASKED = pytest.mark.parametrize("name", MASKED)
DTYPES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])


def setup(name):
    """The loss, a student (B, C) that is not its target, a target, and a student that agrees."""
    target, agreeing = KINDS[name]
    loss = MADE.get(name) or partial(getattr(ckd.losses, name.split(",")[0]), **SETTINGS.get(name, {}))
    return loss, random_logits(0), target(), agreeing(target())


def as_type(target, dtype):
    """Labels as they are."""
    return target.to(dtype) if target.is_floating_point() else target


def gradient(loss, student, target, **settings):
    student = student.clone().requires_grad_()
    loss(student, target, **settings).sum().backward()
    return student.grad


def test_the_public_names_are_these():
    assert ckd.losses.__all__ == [
        "LogitAdjusted",
        "Relational",
        "Standardised",
        "attention",
        "attention_score_mse",
        "binary_cross_entropy",
        "check_strength",
        "check_temperature",
        "cosine_distance",
        "cross_entropy",
        "dist",
        "dkd",
        "feature_distance",
        "feature_mse",
        "hierarchical_context",
        "hinge",
        "kd",
        "logit_adjusted_cross_entropy",
        "logit_mse",
        "priority",
        "probability_distance",
        "probability_mse",
        "relational_angle",
        "relational_distance",
        "similarity",
        "soft_cross_entropy",
        "standardised",
        "symmetric_kl",
        "takes_inputs",
        "takes_labels",
        "token_mse",
    ]


def test_every_loss_is_in_this_battery():
    losses = {name for name in ckd.losses.__all__ if not name.startswith("check_")}
    losses -= {
        "LogitAdjusted",
        "Relational",
        "Standardised",
        "standardised",
        "takes_inputs",
        "takes_labels",
    }  # one has a state, the others are no losses
    assert losses == {name.split(",")[0] for name in KINDS} - {"standardised kd"} | {"attention", *TOKENS, *RELATIONS}


@pytest.mark.parametrize("name", ckd.losses.__all__)
def test_the_docstring_has_an_example_that_runs_by_itself(name):
    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(ckd.losses, name), name, globs={})
    assert example.examples
    assert not doctest.DocTestRunner().run(example).failed


@EVERY
def test_there_is_a_finite_value_of_at_least_zero_for_each_sample(name):
    loss, student, target, _ = setup(name)
    values = loss(student, target)
    assert values.shape == (B,)
    assert values.isfinite().all()
    assert (values >= 0).all()


@EVERY
def test_agreement_gives_the_minimum(name):
    loss, _, target, agreeing = setup(name)
    least = loss(agreeing, target)
    torch.testing.assert_close(gradient(loss, agreeing, target), torch.zeros(B, C))
    for seed in range(5):
        assert (loss(agreeing + 30 * random_logits(seed + 10), target) >= least - 1e-6).all()


@pytest.mark.parametrize("name", [name for name in KINDS if name != "priority"])  # which holds one side constant
def test_gradient_is_that_of_finite_differences(name):
    loss, student, target, _ = setup(name)
    target = as_type(target, torch.float64)
    assert torch.autograd.gradcheck(lambda z: loss(z, target), student.double().requires_grad_())


@EVERY_MASKED
def test_gradient_over_some_classes_is_that_of_finite_differences(name):
    loss, student, target, _ = setup(name)
    target, classes = as_type(target, torch.float64), torch.tensor([True, True, False, True])
    assert torch.autograd.gradcheck(lambda z: loss(z, target, classes=classes), student.double().requires_grad_())


@pytest.mark.parametrize("name", [name for name in KINDS if name != "dist"])  # which compares samples
def test_samples_do_not_see_each_other(name):
    loss, student, target, _ = setup(name)
    alone = [loss(student[i : i + 1], target[i : i + 1]) for i in range(B)]
    torch.testing.assert_close(loss(student, target), torch.cat(alone))


@EVERY_MASKED
def test_a_mask_of_all_classes_changes_nothing(name):
    loss, student, target, _ = setup(name)
    everything = torch.ones(C, dtype=torch.bool)
    torch.testing.assert_close(loss(student, target, classes=everything), loss(student, target))


@EVERY_MASKED
def test_one_mask_is_the_same_as_that_mask_for_each_sample(name):
    loss, student, target, _ = setup(name)
    mask = torch.tensor([True, False, True, True])
    torch.testing.assert_close(
        loss(student, target, classes=mask), loss(student, target, classes=mask.repeat(B, 1)), rtol=0, atol=0
    )


@EVERY_MASKED
@pytest.mark.parametrize("shift", [-5000, 0, 5000])
def test_a_mask_is_the_same_as_leaving_the_other_classes_out(name, shift):
    loss, student, target, _ = setup(name)
    student, mask = student.double() + shift, torch.tensor([True, True, True, False])
    target = as_type(target, torch.float64)[:, :3] if target.is_floating_point() else target % 3
    wide = torch.cat([target, torch.ones(B, 1)], 1) if target.is_floating_point() else target
    settings = {key: value[:3] for key, value in SETTINGS.get(name, {}).items()}
    torch.testing.assert_close(loss(student, wide, classes=mask), loss(student[:, :3], target, **settings))


@EVERY_MASKED
@DTYPES
@pytest.mark.parametrize("garbage", [-1000.0, 1e30, float("nan"), float("inf"), float("-inf")])
def test_a_masked_class_has_no_influence_and_no_gradient(name, dtype, garbage):
    loss, student, target, _ = setup(name)
    student, target, mask = student.to(dtype), as_type(target, dtype), torch.tensor([True, True, True, False])
    expected, wanted = loss(student, target, classes=mask), gradient(loss, student, target, classes=mask)
    student[:, 3] = garbage
    if target.is_floating_point():
        target[:, 3] = garbage
    torch.testing.assert_close(loss(student, target, classes=mask), expected, rtol=0, atol=0)
    found = gradient(loss, student, target, classes=mask)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    assert not found[:, 3].any()


@pytest.mark.parametrize("name", [name for name in MASKED if name != "dist"])
def test_a_row_without_any_class_is_worth_nothing_and_teaches_nothing(name):
    loss, student, target, _ = setup(name)
    masks = torch.ones(B, C, dtype=torch.bool)
    masks[2] = False
    assert not gradient(loss, student, target, classes=masks)[2].any()
    assert float(loss(student, target, classes=masks)[2]) == 0


@EVERY
@DTYPES
def test_half_precision_gives_single_precision_and_other_types_stay(name, dtype):
    loss, student, target, _ = setup(name)
    student, target = student.to(dtype), as_type(target, dtype)
    values = loss(student, target)
    assert values.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert gradient(loss, student, target).dtype == dtype
    exact = loss(student.double(), as_type(target, torch.float64))
    torch.testing.assert_close(values, exact.to(values.dtype))


@EVERY
@DTYPES
def test_extreme_logits_give_finite_values_and_gradients(name, dtype):
    loss, student, target, _ = setup(name)
    student = (1e4 * student.sign()).to(dtype)
    if KINDS[name] is LOGITS:
        target = 1e4 * target.sign()
    target, masks = as_type(target, dtype), [{}]
    if name in MASKED:
        masks += [{"classes": torch.tensor(mask)} for mask in ([True, True, False, True], [False, True, False, False])]
    for settings in masks:
        values = loss(student, target, **settings)
        assert values.shape == (B,)
        assert values.isfinite().all()
        assert gradient(loss, student, target, **settings).isfinite().all()


@EVERY
def test_arguments_are_left_as_they_were(name):
    loss, student, target, _ = setup(name)
    mask = torch.tensor([True, False, True, True])
    before = [t.clone() for t in (student, target, mask)]
    for settings in ({},) if name in FEATURES else ({}, {"classes": mask}):
        loss(student, target, **settings)
        gradient(loss, student, target, **settings)
        assert all(torch.equal(a, b) for a, b in zip(before, (student, target, mask), strict=True))


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind in (LOGITS, PROBABILITIES)])
def test_targets_of_another_shape_are_refused(name):
    loss, student, target, _ = setup(name)
    for other in (target[:, :-1], target[:-1], target[:1], target[:, :1], target[0]):
        with pytest.raises(ConfigError, match="to compare: expected two tensors of"):
            loss(student, other)


DEFAULTS = {
    "kd": {"temperature": 2.0},
    "symmetric_kl": {"balance": 1.0, "temperature": 2.0},
    "dkd": {"target_weight": 1.0, "other_weight": 8.0, "temperature": 4.0},
    "dist": {"sample_weight": 2.0, "class_weight": 2.0, "temperature": 4.0},
}
"""Those of the papers."""


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults(name):
    loss, given = getattr(ckd.losses, name), {"labels": torch.arange(B) % C} if name == "dkd" else {}
    student, target = random_logits(0), random_logits(1)
    assert torch.equal(loss(student, target, **given), loss(student, target, **given, **DEFAULTS[name]))


def test_defaults_of_the_adjustment():
    found = ckd.losses.LogitAdjusted()
    assert (found.strength, found.window, found.warm_up) == (1.0, 50, 300)


def test_a_mean_over_a_single_class_is_its_own_value():
    mask = torch.tensor([False, True, False])
    student, teacher = torch.tensor([[9.0, 1.0, 9.0]]), torch.tensor([[0.0, 4.0, 0.0]])
    assert ckd.losses.hinge(student, teacher, classes=mask).tolist() == [3.0]


def test_two_classes_are_standardised_with_the_deviation_of_two():
    logits = torch.tensor([[1.0, 5.0, 9.0]])
    found = ckd.losses.standardised(logits, torch.tensor([True, True, False]))
    torch.testing.assert_close(found, torch.tensor([[-1.0, 1.0, 0.0]]) / 2**0.5)


def test_who_wants_labels_is_told_by_the_signature_unless_the_loss_says_so():
    class Own(torch.nn.Module):
        def forward(self, student, target, *, labels):
            """Of samples with labels."""

    told, silent = ckd.losses.Standardised(ckd.losses.dkd), ckd.losses.Standardised(ckd.losses.kd)
    assert ckd.losses.takes_labels(Own())
    assert ckd.losses.takes_labels(told)
    assert not ckd.losses.takes_labels(silent)  # though its call takes anything
    assert not ckd.losses.takes_labels(dict)  # of which no signature is known
