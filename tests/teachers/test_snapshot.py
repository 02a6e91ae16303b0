"""A teacher never changes, and taking or asking one never touches the student."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ckd.classes import ClassSet
from ckd.part import Ending
from ckd.teachers import Snapshot

TAUGHT = ClassSet({0: frozenset({0, 1})})


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


def ask(model, inputs, tasks):
    return model(inputs)


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
    taken.end(Ending(student, TAUGHT))
    return taken


def bits(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same_bits(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def modes(module):
    return [m.training for m in module.modules()]


def numpy_answer(weights, x):
    """The network in eval mode, by hand: running statistics, no dropout."""
    w = {name: value.double().numpy() for name, value in weights.items()}
    hidden = x.double().numpy() @ w["hidden.weight"].T + w["hidden.bias"]
    normal = (hidden - w["norm.running_mean"]) / np.sqrt(w["norm.running_var"] + 1e-5)
    return (normal * w["norm.weight"] + w["norm.bias"]) @ w["head.weight"].T + w["head.bias"]


def wake(snapshot, student):
    snapshot.model.train()


def wake_the_module(snapshot, student):
    snapshot.model.module.train()


def wake_dropout(snapshot, student):
    snapshot.model.module.drop.train()


def wake_batchnorm(snapshot, student):
    snapshot.model.module.norm.train()


def wake_from_above(snapshot, student):
    nn.ModuleList([snapshot.model]).train()


def train_the_student(snapshot, student):
    train(student)


WILD = pytest.mark.parametrize(
    "happens", [wake, wake_the_module, wake_dropout, wake_batchnorm, wake_from_above, train_the_student]
)


def test_it_answers_as_the_student_did_in_eval_mode_when_it_was_taken(student):
    snapshot = Snapshot()
    snapshot.end(Ending(student, TAUGHT))
    weights = bits(student)
    train(student)
    found = snapshot.answer(ask, inputs(seed=9), None)
    np.testing.assert_allclose(found.numpy(), numpy_answer(weights, inputs(seed=9)), rtol=1e-4, atol=1e-5)


@WILD
def test_whatever_happens_parameters_buffers_and_answers_stay_bit_identical(snapshot, student, happens):
    before, answer = bits(snapshot.model.module), snapshot.answer(ask, inputs(), None)
    for seed in range(3):
        happens(snapshot, student)
        snapshot.answer(ask, 5 + inputs(seed=seed), None)
        snapshot.model(5 + inputs(seed=seed))
    happens(snapshot, student)
    assert torch.equal(snapshot.answer(ask, inputs(), None), answer)
    assert torch.equal(snapshot.model(inputs()), answer)
    assert same_bits(bits(snapshot.model.module), before)


@WILD
def test_whatever_happens_the_copy_answers_in_eval_mode(snapshot, student, happens):
    happens(snapshot, student)
    heard = []
    snapshot.answer(lambda model, x, tasks: heard.extend(modes(model)) or model(x), inputs(), None)
    assert not any(heard)


def test_the_copy_says_that_it_is_in_eval_mode(snapshot):
    assert not any(modes(snapshot.model))


def test_task_labels_reach_the_way_of_asking(snapshot):
    tasks = torch.tensor([1, 0] * 4)
    heard = []
    snapshot.answer(lambda model, x, t: heard.append(t) or model(x), inputs(), tasks)
    assert heard[0] is tasks


@pytest.mark.parametrize("asked", [lambda s, x: s.answer(ask, x, None), lambda s, x: s.model(x)], ids=["ask", "call"])
def test_no_gradient_flows(snapshot, asked):
    x = inputs().requires_grad_()
    found = asked(snapshot, x)
    assert not found.requires_grad
    assert found.grad_fn is None
    assert not any(p.requires_grad for p in snapshot.model.parameters())


def test_asking_leaves_gradient_recording_on(snapshot):
    snapshot.answer(ask, inputs(), None)
    assert torch.is_grad_enabled()


def test_the_copy_carries_no_gradients_and_the_student_keeps_its_own(student):
    kept = [p.grad.clone() for p in student.parameters()]
    snapshot = Snapshot()
    snapshot.end(Ending(student, TAUGHT))
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
    snapshot.end(Ending(student, TAUGHT))
    assert modes(student) == before
    snapshot.answer(ask, inputs(), None)
    assert modes(student) == before
    assert same_bits(bits(student), weights)


def test_it_is_not_ready_before_the_first_end(student):
    snapshot = Snapshot()
    assert not snapshot.ready
    assert snapshot.nbytes() == {}
    with pytest.raises(RuntimeError, match="no network yet"):
        snapshot.answer(ask, inputs(), None)
    snapshot.end(Ending(student, TAUGHT))
    assert snapshot.ready


def test_the_next_end_replaces_it_and_what_it_was_taught(snapshot, student):
    first = snapshot.answer(ask, inputs(), None)
    assert snapshot.taught is TAUGHT
    train(student)
    more = ClassSet({0: frozenset({0, 1, 2})})
    snapshot.end(Ending(student, more))
    assert snapshot.taught is more
    second = snapshot.answer(ask, inputs(), None)
    assert not torch.equal(second, first)
    np.testing.assert_allclose(second.numpy(), numpy_answer(bits(student), inputs()), rtol=1e-4, atol=1e-5)


def test_bytes_are_those_of_parameters_and_buffers(snapshot):
    parameters = (3 * 4 + 4) + (4 + 4) + (4 * 2 + 2)
    statistics, batches_tracked = 4 + 4, 1
    assert snapshot.nbytes() == {"teachers": 4 * (parameters + statistics) + 8 * batches_tracked}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))], ids=["deepcopy", "pickle"])
def test_a_copied_snapshot_answers_the_same_and_stays_frozen(snapshot, copied):
    twin = copied(snapshot)
    assert twin.ready
    assert twin.taught.by_task == TAUGHT.by_task
    twin.model.module.train()
    assert torch.equal(twin.answer(ask, inputs(), None), snapshot.answer(ask, inputs(), None))
    assert same_bits(bits(twin.model), bits(snapshot.model))


def test_a_snapshot_never_taken_can_be_pickled():
    assert not pickle.loads(pickle.dumps(Snapshot())).ready
