"""A teacher never changes, and neither taking one nor its forward passes touch the student."""

import copy
import pickle

import numpy as np
import pytest
import torch
from models import MultiHead, adapt
from shared import classes_in
from torch import nn
from torch.nn import functional as F

from ckd.outputs import features, logits, tap
from ckd.part import Ending
from ckd.teachers import Snapshot


class Student(nn.Module):
    """All that may betray a teacher: BatchNorm, which has buffers, and dropout, which is random."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.drop(self.norm(self.hidden(x))))


def inputs(n=8, seed=0):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))


def train(student, steps=3):
    """A few steps with momentum, which leave gradients and new BatchNorm statistics behind."""
    student.train()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.3, momentum=0.9)
    for step in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(student(inputs(seed=step)), torch.tensor([0, 1] * 4)).backward()
        optimizer.step()


@pytest.fixture
def student():
    torch.manual_seed(0)
    model = Student()
    train(model)
    return model


@pytest.fixture
def snapshot(student):
    taken = Snapshot()
    taken.end(Ending(student, classes_in([0, 1])))
    return taken


def bits(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same_bits(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def modes(module):
    return [m.training for m in module.modules()]


def of(teacher, x, *arguments):
    return teacher.outputs(x, *arguments)[logits]


def numpy_logits(weights, x):
    """The network in eval mode, by hand: running statistics, no dropout."""
    w = {name: value.double().numpy() for name, value in weights.items()}
    hidden = x.double().numpy() @ w["hidden.weight"].T + w["hidden.bias"]
    normal = (hidden - w["norm.running_mean"]) / np.sqrt(w["norm.running_var"] + 1e-5)
    return (normal * w["norm.weight"] + w["norm.bias"]) @ w["head.weight"].T + w["head.bias"]


def train_mode(snapshot, student):
    snapshot.model.train()


def train_mode_of_the_module(snapshot, student):
    snapshot.model.module.train()


def train_mode_of_dropout(snapshot, student):
    snapshot.model.module.drop.train()


def train_mode_of_batchnorm(snapshot, student):
    snapshot.model.module.norm.train()


def train_mode_from_above(snapshot, student):
    nn.ModuleList([snapshot.model]).train()


def train_the_student(snapshot, student):
    train(student)


WILD = pytest.mark.parametrize(
    "happens",
    [
        train_mode,
        train_mode_of_the_module,
        train_mode_of_dropout,
        train_mode_of_batchnorm,
        train_mode_from_above,
        train_the_student,
    ],
)


def test_its_logits_are_the_students_in_eval_mode_when_it_was_taken(student):
    snapshot = Snapshot()
    snapshot.end(Ending(student, classes_in([0, 1])))
    weights = bits(student)
    train(student)
    found = of(snapshot, inputs(seed=9))
    np.testing.assert_allclose(found.numpy(), numpy_logits(weights, inputs(seed=9)), rtol=1e-4, atol=1e-5)


@WILD
def test_whatever_happens_parameters_buffers_and_logits_stay_bit_identical(snapshot, student, happens):
    before, first = bits(snapshot.model.module), of(snapshot, inputs())
    for seed in range(3):
        happens(snapshot, student)
        of(snapshot, 5 + inputs(seed=seed))
        snapshot.model(5 + inputs(seed=seed))
    happens(snapshot, student)
    assert torch.equal(of(snapshot, inputs()), first)
    assert torch.equal(snapshot.model(inputs()), first)
    assert same_bits(bits(snapshot.model.module), before)


@WILD
def test_whatever_happens_the_copy_computes_in_eval_mode(snapshot, student, happens):
    happens(snapshot, student)
    seen = []
    snapshot.model.module.register_forward_pre_hook(lambda module, _: seen.extend(modes(module)))
    of(snapshot, inputs())
    assert len(seen) == 5
    assert not any(seen)


def test_the_copy_says_that_it_is_in_eval_mode(snapshot):
    assert not any(modes(snapshot.model))


# outputs -----------------------------------------------------------------------------------------------------------


def test_all_that_is_wanted_comes_from_one_forward_pass(snapshot):
    passes = []
    snapshot.model.module.register_forward_hook(lambda *_: passes.append(1))
    taps = tap("norm", "hidden")
    found = snapshot.outputs(inputs(), None, [taps, logits, features])
    before = len(passes)
    again = snapshot.outputs(inputs(1), None, [features, logits])  # the head is known now
    assert len(passes) == before + 1
    module = snapshot.model.module
    hidden = module.hidden(inputs())
    assert torch.equal(found[taps][1], hidden)
    assert torch.equal(found[taps][0], module.norm(hidden))
    assert torch.equal(found[features], module.norm(hidden))  # dropout does nothing
    assert torch.equal(found[logits], module(inputs()))
    assert list(again) == [features, logits]


def multi_head():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MultiHead()
        for task in (0, 2):
            adapt(model.classifier, [0, 1], task)
    return model.eval()


def test_task_labels_reach_the_network_and_unknown_ones_go_through_a_head_that_it_has():
    student = multi_head()
    snapshot = Snapshot()
    snapshot.end(Ending(student, classes_in({0: [0, 1]}, {2: [0, 1]}, per_task=True)))
    x, tasks = torch.randn(4, 6), torch.tensor([2, 0, 1, 7])
    found = of(snapshot, x, tasks)
    assert torch.equal(found, student(x, torch.tensor([2, 0, 0, 0])))
    assert not torch.equal(found[:1], student(x[:1], torch.tensor([0])))
    assert snapshot.valid(2, tasks, x.device).tolist() == [[True] * 2] * 2 + [[False] * 2] * 2


def test_classes_that_it_knows_are_those_seen_when_it_was_taken(snapshot):
    assert snapshot.valid(2, None, torch.device("cpu")) is None
    assert snapshot.valid(4, None, torch.device("cpu")).tolist() == [True, True, False, False]


# no gradients ------------------------------------------------------------------------------------------------------


WAYS = {
    "logits": of,
    "call": lambda s, x: s.model(x),
    "features": lambda s, x: s.outputs(x, None, [features])[features],
    "tap": lambda s, x: s.outputs(x, None, [tap("norm")])[tap("norm")],
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_no_gradient_flows(snapshot, way):
    x = inputs().requires_grad_()
    found = way(snapshot, x)
    assert not found.requires_grad
    assert found.grad_fn is None
    assert not any(p.requires_grad for p in snapshot.model.parameters())


def test_its_forward_pass_leaves_gradient_recording_on(snapshot):
    of(snapshot, inputs())
    assert torch.is_grad_enabled()


def test_the_copy_carries_no_gradients_and_the_student_keeps_its_own(student):
    kept = [p.grad.clone() for p in student.parameters()]
    snapshot = Snapshot()
    snapshot.end(Ending(student, classes_in([0, 1])))
    assert all(p.grad is None for p in snapshot.model.parameters())
    assert all(torch.equal(p.grad, grad) for p, grad in zip(student.parameters(), kept, strict=True))
    assert all(p.requires_grad for p in student.parameters())


def test_the_copy_shares_no_storage_with_the_student(snapshot, student):
    def storages(module):
        return {t.data_ptr() for t in module.state_dict().values()}

    assert not storages(snapshot.model) & storages(student)


@pytest.mark.parametrize("training", [True, False])
def test_mode_of_the_student_is_untouched_module_by_module(student, training):
    student.train(training)
    student.norm.train(not training)  # a frozen BatchNorm in a training model, for one
    before, weights = modes(student), bits(student)
    snapshot = Snapshot()
    snapshot.end(Ending(student, classes_in([0, 1])))
    assert modes(student) == before
    of(snapshot, inputs())
    assert modes(student) == before
    assert same_bits(bits(student), weights)


def test_of_the_evaluation_model_it_copies_what_predicts_at_evaluation(student):
    other = Student()
    for of_it, wanted in ((True, other), (False, student)):
        snapshot = Snapshot(of_evaluation_model=of_it)
        snapshot.end(Ending(student, classes_in([0, 1]), evaluation_model=lambda: other))
        assert torch.equal(of(snapshot, inputs()), copy.deepcopy(wanted).eval()(inputs()))
    snapshot = Snapshot(of_evaluation_model=True)
    snapshot.end(Ending(student, classes_in([0, 1])))  # there is none
    assert same_bits(bits(snapshot.model.module), bits(student))


def test_it_is_not_ready_before_the_first_end(student):
    snapshot = Snapshot()
    assert not snapshot.ready
    assert snapshot.nbytes() == {}
    with pytest.raises(RuntimeError, match="no network yet"):
        of(snapshot, inputs())
    snapshot.end(Ending(student, classes_in([0, 1])))
    assert snapshot.ready


def test_the_next_end_replaces_it_and_the_classes_that_it_knows(snapshot, student):
    first = of(snapshot, inputs())
    assert snapshot.classes.indices == [0, 1]
    train(student)
    snapshot.end(Ending(student, classes_in([0, 1], [2])))
    assert snapshot.classes.indices == [0, 1, 2]
    second = of(snapshot, inputs())
    assert not torch.equal(second, first)
    np.testing.assert_allclose(second.numpy(), numpy_logits(bits(student), inputs()), rtol=1e-4, atol=1e-5)


def test_bytes_are_those_of_parameters_and_buffers(snapshot):
    parameters = (3 * 4 + 4) + (4 + 4) + (4 * 2 + 2)
    statistics, batches_tracked = 4 + 4, 1
    assert snapshot.nbytes() == {"teachers": 4 * (parameters + statistics) + 8 * batches_tracked}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))], ids=["deepcopy", "pickle"])
def test_a_copied_snapshot_gives_the_same_and_stays_frozen(snapshot, copied):
    twin = copied(snapshot)
    assert twin.ready
    assert twin.classes.by_task == {0: frozenset({0, 1})}
    twin.model.module.train()
    assert torch.equal(of(twin, inputs()), of(snapshot, inputs()))
    assert same_bits(bits(twin.model), bits(snapshot.model))


def test_a_snapshot_never_taken_can_be_pickled():
    assert not pickle.loads(pickle.dumps(Snapshot())).ready
