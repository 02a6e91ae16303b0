"""What the owner of a training loop gives: classes, data, a model's outputs, an optimiser."""

import pytest
import torch
from shared import named
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ckd.classes import ClassSet
from ckd.engine.given import (
    as_stored,
    check_label,
    check_outputs,
    classes_by_task,
    mean_cross_entropy,
    rate_of,
    rows_of,
    without_inactive,
)
from ckd.errors import DataError, ModelError
from ckd.rows import Rows


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([0, 1], {0: {0, 1}}),
        (range(2, 4), {0: {2, 3}}),
        ((c for c in (1, 1, 2)), {0: {1, 2}}),
        (torch.tensor([3, 1]), {0: {1, 3}}),
        ({2: [0, 1], 5: range(1)}, {2: {0, 1}, 5: {0}}),
        ([], {0: set()}),
    ],
    ids=named,
)
def test_classes_are_indices_by_task(given, wanted):
    assert classes_by_task(given) == wanted


@pytest.mark.parametrize("given", [[0, -1], {0: [0], 1: [-2]}], ids=str)
def test_a_negative_class_is_refused(given):
    with pytest.raises(DataError, match=r"received a label -[12]. Number the classes 0, 1, 2"):
        classes_by_task(given)


X, Y = torch.randn(10, 3), torch.arange(10) % 4
TASKS = torch.arange(10) % 2


def own_rows():
    yield Rows(X, Y, TASKS, torch.full_like(Y, 3))


DATA = {
    "a pair of tensors": (X, Y),
    "a list of two tensors": [X, Y],
    "with task labels": (X, Y, TASKS),
    "batches": [(X[:4], Y[:4]), (X[4:], Y[4:])],
    "batches as lists": [[X[:4], Y[:4]], [X[4:], Y[4:]]],
    "a loader": DataLoader(TensorDataset(X, Y), batch_size=4),
    "a generator": ((x, y) for x, y in zip(X.split(3), Y.split(3), strict=True)),
    "a function that returns rows": own_rows,
    "a function that returns batches": lambda: [(X[:4], Y[:4]), (X[4:], Y[4:])],
    "a list of rows": list(own_rows()),
}


@pytest.mark.parametrize("what", DATA)
def test_data_are_rows_of_the_experience(what):
    rows = list(rows_of(DATA[what], 3))
    assert torch.equal(torch.cat([r.raw for r in rows]), X)
    assert torch.equal(torch.cat([r.targets for r in rows]), Y)
    told = what in ("with task labels", "a function that returns rows", "a list of rows")
    assert torch.equal(torch.cat([r.tasks for r in rows]), TASKS if told else torch.zeros_like(Y))
    assert set(torch.cat([r.experiences for r in rows]).tolist()) == {3}


def test_no_data_are_no_rows():
    assert list(rows_of(None, 0)) == list(rows_of([], 0)) == []


WRONG = [5, [1, 2], X, (X,), "data", [(X,)], {"x": X}, [{"x": X, "y": Y}], lambda: 5, [(X, Y, TASKS, TASKS)]]


@pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
def test_other_data_are_refused_with_what_would_do(wrong):
    with pytest.raises(DataError, match=r"Give engine.end tensors or a DataLoader"):
        list(rows_of(wrong, 0))


SEEN = ClassSet({0: frozenset({0, 4})})


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 5), (2, 5, 3, 3)])
def test_logits_wide_enough_pass(shape):
    check_outputs(torch.zeros(shape), SEEN)
    with pytest.raises(
        DataError, match="expected class indices from 0 to 4, the width of the head; received a label 5"
    ):
        check_label(5, torch.zeros(shape))


@pytest.mark.parametrize("shape", [(2, 4), (2, 5, 4), (2, 4, 5, 5)])
def test_a_class_beyond_the_head_is_refused(shape):
    with pytest.raises(DataError, match=r"expected class indices from 0 to 3.*received a label 4. Widen the head"):
        check_outputs(torch.zeros(shape), SEEN)


@pytest.mark.parametrize("outputs", [(torch.zeros(2, 5),), {"logits": torch.zeros(2, 5)}, torch.zeros(5), None])
def test_what_is_no_tensor_of_logits_is_refused(outputs):
    with pytest.raises(ModelError, match="Wrap the model so that its forward returns the logits alone"):
        check_outputs(outputs, SEEN)


def test_inactive_units_say_nothing_whatever_the_shape():
    active = ClassSet({0: frozenset({0, 2})})
    for shape, axis in (((2, 3), 1), ((2, 4, 3), 2), ((2, 3, 4, 5), 1)):
        found = without_inactive(torch.zeros(shape), active, None)
        wanted = torch.zeros(shape)
        wanted.select(axis, 1).fill_(torch.nan)
        assert torch.equal(found.isnan(), wanted.isnan())
        assert without_inactive(found, None, None) is found


def test_with_heads_per_task_each_sample_has_the_units_of_its_own():
    active = ClassSet({0: frozenset({0, 2}), 1: frozenset({1})}, per_task=True)
    wanted = torch.tensor([[False, True, False], [True, False, True]])
    tasks = torch.tensor([0, 1])
    assert torch.equal(without_inactive(torch.zeros(2, 3), active, tasks).isnan(), wanted)
    assert torch.equal(without_inactive(torch.zeros(2, 4, 3), active, tasks).isnan(), wanted[:, None].expand(2, 4, 3))
    assert torch.equal(
        without_inactive(torch.zeros(2, 3, 4, 5), active, tasks).isnan(), wanted[..., None, None].expand(2, 3, 4, 5)
    )


@pytest.mark.parametrize(
    ("groups", "rate"),
    [
        ([{"lr": 0.1}], 0.1),
        ([{"lr": 0.1, "momentum": 0.9}], 1.0),
        ([{"lr": 0.1, "momentum": 0.5}, {"lr": 0.3}], 0.3),
    ],
)
def test_the_rate_is_how_far_a_step_goes_along_a_steady_gradient(groups, rate):
    weights = [nn.Parameter(torch.zeros(1)) for _ in groups]
    optimizer = torch.optim.SGD([{"params": [w], **group} for w, group in zip(weights, groups, strict=True)], lr=9.0)
    assert rate_of(optimizer) == pytest.approx(rate)
    if len(groups) == 1:  # by taking many steps of gradient 1
        before = 0.0
        for _ in range(200):
            before = weights[0].item()
            weights[0].grad = torch.ones(1)
            optimizer.step()
        assert before - weights[0].item() == pytest.approx(rate, rel=1e-3)


def test_an_optimiser_without_a_learning_rate_has_none():
    class Odd(torch.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {})

    assert rate_of(Odd([nn.Parameter(torch.zeros(1))])) == 0.0


def test_samples_are_shown_as_they_are_stored_unless_told_otherwise():
    assert as_stored(X, torch.Generator()) is X


def test_the_usual_criterion_is_torchs_bit_for_bit():
    z = torch.randn(8, 5)
    y = torch.arange(8) % 5
    assert torch.equal(mean_cross_entropy(z, y), nn.functional.cross_entropy(z, y))
    assert torch.equal(mean_cross_entropy(z, z.softmax(1)), nn.functional.cross_entropy(z, z.softmax(1)))
    dense, labels = torch.randn(2, 5, 3, 4), torch.randint(5, (2, 3, 4))
    assert torch.allclose(mean_cross_entropy(dense, labels), nn.functional.cross_entropy(dense, labels))
