"""LogitAdjusted against the loss with a prior that is counted by hand."""

import math

import pytest
import torch

from ckd.classes import Classes
from ckd.errors import ConfigError, DataError
from ckd.losses import LogitAdjusted, logit_adjusted_cross_entropy

BATCHES = [torch.tensor([0, 0, 0, 1]), torch.tensor([1, 2, 2, 2]), torch.tensor([0, 1, 1, 1])]


def logits(width=4, rows=4, seed=0):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def began(*classes, old=()):
    found = Classes()
    if old:
        found.begin({0: frozenset(old)}, per_task=False)
        found.end()
    found.begin({0: frozenset(classes)}, per_task=False)
    return found


@pytest.mark.parametrize("window", [1, 2, 50])
def test_counts_of_earlier_batches_fade(window):
    loss = LogitAdjusted(window=window, warm_up=0)
    prior = torch.zeros(4)
    for labels in BATCHES:
        prior = prior * (1 - 1 / window) + torch.bincount(labels, minlength=4)
        expected = logit_adjusted_cross_entropy(logits(), labels, prior=prior)
        torch.testing.assert_close(loss(logits(), labels), expected)


def test_strength_and_classes_are_passed_on():
    mask = torch.tensor([True, False, True, True])  # of classes that are met
    expected = logit_adjusted_cross_entropy(logits(), BATCHES[0], strength=0.5, classes=mask)
    torch.testing.assert_close(LogitAdjusted(0.5, warm_up=0)(logits(), BATCHES[0], classes=mask), expected)
    assert expected[3] == 0  # of the class that is left out


def test_the_first_batch_is_the_first_of_the_warm_up():
    expected = logit_adjusted_cross_entropy(logits(), BATCHES[0], strength=1 - math.exp(-1 / 4))
    torch.testing.assert_close(LogitAdjusted(warm_up=4)(logits(), BATCHES[0]), expected)


def test_the_strength_grows_from_where_classes_came():
    loss, model, prior = LogitAdjusted(1.5, window=1, warm_up=4), torch.nn.Linear(1, 1), torch.tensor([3, 1, 0, 0])
    for old, new in [((), (0, 1)), ((0, 1), (2, 3))]:
        loss.begin(model, began(*new, old=old))
        for batch in range(1, 4):
            strength = 1.5 * (1 - math.exp(-batch / 4))
            expected = logit_adjusted_cross_entropy(logits(), BATCHES[0], strength=strength, prior=prior)
            torch.testing.assert_close(loss(logits(), BATCHES[0]), expected)


def test_a_class_that_was_not_drawn_keeps_its_share():
    """Counted in the batch alone, class 0 would be left out of the second softmax."""
    loss, student = LogitAdjusted(window=10, warm_up=0), logits().requires_grad_()
    loss(student, BATCHES[0])
    loss(student, BATCHES[1]).sum().backward()
    assert (student.grad[:, 0] > 0).all()
    assert (student.grad[:, 3] == 0).all()  # never met


def test_a_head_that_grows_or_is_another_one():
    loss = LogitAdjusted(window=2, warm_up=0)
    loss(logits(3), BATCHES[0])
    prior = torch.tensor([1.5, 0.5, 0, 0, 4])
    labels = torch.tensor([4, 4, 4, 4])
    expected = logit_adjusted_cross_entropy(logits(5), labels, prior=prior)
    torch.testing.assert_close(loss(logits(5), labels), expected)
    narrow = torch.tensor([1, 1, 1, 1])
    expected = logit_adjusted_cross_entropy(logits(2), narrow, prior=torch.tensor([0.75, 4.25]))
    torch.testing.assert_close(loss(logits(2), narrow), expected)


def test_it_counts_anew_for_other_classes_only():
    model, loss = torch.nn.Linear(1, 1), LogitAdjusted()
    loss.begin(model, began(0, 1))
    loss(logits(), BATCHES[0])
    loss.begin(model, began(0, 1))  # the next online sub-experience
    assert loss.state_dict()["counts"].tolist() == [3, 1, 0, 0]
    loss.begin(model, began(2, 3, old=(0, 1)))
    assert loss.state_dict()["counts"] is None


def test_its_state_goes_on_where_it_was():
    model, loss, restored = torch.nn.Linear(1, 1), LogitAdjusted(), LogitAdjusted()
    loss.begin(model, began(0, 1))
    loss(logits(), BATCHES[0])
    state = loss.state_dict()
    restored.load_state_dict(state, model)
    expected = loss(logits(), BATCHES[1])
    assert torch.equal(restored(logits(), BATCHES[1]), expected)
    assert state["counts"].tolist() == [3, 1, 0, 0]
    assert loss.nbytes() == {"class counts": 16}


def test_half_precision_is_computed_in_float32():
    found = LogitAdjusted()(logits().bfloat16(), BATCHES[0])
    assert found.dtype == torch.float32


@pytest.mark.parametrize(
    "settings",
    [
        {"window": 0},
        {"window": float("inf")},
        {"window": "5"},
        {"strength": -1},
        {"warm_up": -1},
        {"warm_up": math.inf},
    ],
)
def test_what_cannot_work_is_refused(settings):
    with pytest.raises(ConfigError, match="expected"):
        LogitAdjusted(**settings)


def test_a_label_beyond_the_head_is_refused():
    with pytest.raises(DataError, match="from 0 to 3"):
        LogitAdjusted()(logits(), torch.tensor([0, 4, 0, 0]))


def test_one_that_has_counted_nothing_holds_nothing():
    assert LogitAdjusted().nbytes() == {}


def test_a_restored_one_counts_on_in_the_same_experience():
    """And anew in the next: the classes of the experience are part of the state."""
    first, second, model = LogitAdjusted(window=10), LogitAdjusted(window=10), torch.nn.Linear(1, 1)
    first.begin(model, began(0, 1))
    first(logits(), BATCHES[0])
    second.load_state_dict(first.state_dict(), model)
    for classes in (began(0, 1), began(2, 3, old=(0, 1))):
        for loss in (first, second):
            loss.begin(model, classes)
        assert torch.equal(first(logits(), BATCHES[2]), second(logits(), BATCHES[2]))
