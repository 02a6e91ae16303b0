"""Generators, optimisers and networks: what is restored is what was saved."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from ckd.checkpoint import (
    CheckpointError,
    Rest,
    labels_of,
    model_state,
    optimiser_state,
    random_state,
    restore_model,
    restore_optimiser,
    restore_random,
)
from ckd.checkpoint.file import pack, unpack
from ckd.checkpoint.model import resize
from ckd.errors import ConfigError, ModelError


def saved(state):
    return unpack(pack(state, {})).state()


def test_all_global_generators_go_on_where_they_were():
    def draws():
        normal = np.random.standard_normal(3).tolist()  # noqa: NPY002 - whatever others draw; an odd number of them
        return torch.rand(2).tolist(), normal, random.random(), random.gauss(0, 1)

    draws()
    state = saved(random_state())
    wanted = draws()
    draws()
    restore_random(state)
    assert draws() == wanted


OPTIMISERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.8, 0.9), amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
}


def steps(model, optimizer, n):
    g = torch.Generator().manual_seed(n)
    for _ in range(n):
        optimizer.zero_grad()
        model(torch.randn(4, 3, generator=g)).square().sum().backward()
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_an_optimiser_goes_on_also_where_its_parameters_have_another_order(kind):
    model = net()
    optimizer = OPTIMISERS[kind](model.parameters())
    steps(model, optimizer, 3)
    names = dict(model.named_parameters())
    state = saved({"model": model_state(model), "optimizer": optimiser_state(optimizer, names)})
    wanted = steps(model, optimizer, 2)
    other = net()
    again = OPTIMISERS[kind](list(other.parameters())[::-1])
    restore_model(other, state["model"])
    restore_optimiser(again, state["optimizer"], dict(other.named_parameters()))
    assert all(torch.equal(a, b) for a, b in zip(steps(other, again, 2), wanted, strict=True))


def test_rates_and_what_a_schedule_left_in_the_groups_are_those_that_were_saved():
    model = net()
    optimizer = OPTIMISERS["adam"](model.parameters())
    state = saved(optimiser_state(optimizer, {}))
    optimizer.param_groups[0].update(lr=5.0, initial_lr=7.0)
    restore_optimiser(optimizer, state, {})
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["betas"]) == (0.01, (0.8, 0.9))
    assert "initial_lr" not in optimizer.param_groups[0]


def test_momentum_of_a_parameter_that_has_grown_is_left_out():
    model = net()
    optimizer = OPTIMISERS["sgd"](model.parameters())
    steps(model, optimizer, 1)
    state = optimiser_state(optimizer, dict(model.named_parameters()))
    model[2] = nn.Linear(4, 3)
    other = OPTIMISERS["sgd"](model.parameters())
    restore_optimiser(other, state, dict(model.named_parameters()))
    assert set(other.state) == {*model[0].parameters(), *model[1].parameters()}


def test_a_parameter_that_the_model_does_not_name_is_known_by_its_place():
    def make():
        own, extra = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
        return own, extra, torch.optim.SGD([{"params": [own]}, {"params": [torch.ones(2), extra]}], momentum=0.9)

    own, extra, optimizer = make()
    (own.sum() + 3 * extra.sum()).backward()
    optimizer.step()
    state = saved(optimiser_state(optimizer, {"own": own}))
    assert sorted(state["state"]) == ["#1.1", "own"]
    own, extra, again = make()
    restore_optimiser(again, state, {"own": own})
    assert again.state[extra]["momentum_buffer"].tolist() == [3.0, 3.0]
    assert again.state[own]["momentum_buffer"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("settings", "step"), [({}, "cpu"), ({"capturable": True}, "meta")])
def test_what_belongs_to_a_parameter_goes_where_it_is_and_a_count_stays(settings, step):
    """Of a parameter of no dimension too, as a learned temperature."""
    own, there = (nn.Parameter(torch.ones((), device=device)) for device in ("cpu", "meta"))
    saved = torch.optim.Adam([own])
    own.grad = torch.ones(())
    saved.step()
    optimizer = torch.optim.Adam([there])
    state = optimiser_state(saved, {"own": own})
    state["groups"][0].update(settings)
    restore_optimiser(optimizer, state, {"own": there})
    assert {key: value.device.type for key, value in optimizer.state[there].items()} == {
        "step": step,
        "exp_avg": "meta",
        "exp_avg_sq": "meta",
    }


def test_other_groups_are_refused():
    model = net()
    one = optimiser_state(OPTIMISERS["sgd"](model.parameters()), {})
    two = torch.optim.SGD([{"params": m.parameters()} for m in (model[0], model[2])], lr=0.1)
    with pytest.raises(ConfigError, match=r"1 groups of parameters.*received 2"):
        restore_optimiser(two, one, {})


def test_a_network_of_other_shapes_is_refused_unless_it_may_grow():
    model = net()
    model[0].weight.requires_grad_(False)
    state, other = saved(model_state(model)), net()
    other[2] = nn.Linear(4, 5)
    with pytest.raises(ModelError, match=r"expected 2\.bias \[2\]; received \[5\]|expected 2\.weight"):
        restore_model(other, state)
    restore_model(other, state, grow=True)
    assert other[2].out_features == 2
    x = torch.randn(4, 3)
    assert torch.equal(other.eval()(x), model.eval()(x))
    assert [p.requires_grad for p in other.parameters()] == [p.requires_grad for p in model.parameters()]


def test_whatever_has_another_shape_may_grow():
    def build(width):
        parts = [nn.Linear(3, width, bias=False), nn.BatchNorm1d(width, track_running_stats=False)]
        return nn.Sequential(*parts, nn.Conv1d(1, width, 1), nn.BatchNorm1d(width))

    wanted, other = build(4), build(2)
    wanted[3].running_mean += 1
    other[2].weight.requires_grad_(False)
    restore_model(other, saved(model_state(wanted)), grow=True)
    found = other.state_dict()
    assert all(torch.equal(found[name], value) for name, value in wanted.state_dict().items())
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in other.parameters())
    assert (other[0].in_features, other[0].out_features) == (3, 4)


def test_a_network_of_other_names_is_refused():
    with pytest.raises(ModelError, match=r"expected 0\.bias \[4\]; received none"):
        restore_model(nn.Linear(3, 4), model_state(net()), grow=True)
    with pytest.raises(ModelError, match=r"expected bias \[4\]; received none"):
        restore_model(nn.Linear(3, 4, bias=False), model_state(nn.Linear(3, 4)))
    with pytest.raises(ModelError, match=r"expected no bias; received \[4\]"):
        restore_model(nn.Linear(3, 4), model_state(nn.Linear(3, 4, bias=False)))


def batches(n=4):
    return [(torch.randn(2, 3), torch.tensor([i, 10 + i])) for i in range(n)]


def test_the_rest_of_an_epoch_comes_after_then():
    said, every = [], batches()
    rest = Rest(every, 2, labels_of(every[1]), lambda: said.append("then"))
    assert len(rest) == 4
    said.extend(labels[0].item() for _, labels in rest)
    assert said == ["then", 2, 3]


@pytest.mark.parametrize(("done", "last"), [(5, None), (2, 77)])
def test_other_batches_are_refused(done, last):
    with pytest.raises(CheckpointError, match="those that were learnt before"):
        list(Rest(batches(), done, last, lambda: None))


def test_only_what_has_another_shape_is_resized_and_keeps_its_kind():
    """Parameters, frozen ones and buffers, also where the file lacks one that comes before."""

    class Mixed(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.register_parameter("absent", None)
            self.same = nn.Parameter(torch.ones(2))
            self.frozen = nn.Parameter(torch.zeros(width, dtype=torch.float64), requires_grad=False)
            self.free = nn.Parameter(torch.zeros(width))
            self.register_buffer("unknown", torch.zeros(1))
            self.register_buffer("seen", torch.zeros(width, dtype=torch.int64))

    small, large = Mixed(2), Mixed(5)
    same, unknown = small.same, small.unknown
    resize(small, {name: value for name, value in large.state_dict().items() if name != "unknown"})
    small.load_state_dict(large.state_dict())
    assert small.same is same
    assert small.unknown is unknown
    assert [name for name, _ in small.named_parameters()] == ["same", "frozen", "free"]
    assert [one.requires_grad for one in small.parameters()] == [True, False, True]
    assert type(small.seen) is torch.Tensor
    assert (small.frozen.dtype, small.seen.dtype) == (torch.float64, torch.int64)
    assert {len(one) for one in (small.frozen, small.free, small.seen)} == {5}


def test_an_optimiser_that_had_not_stepped_steps_after_it_was_restored():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    named = dict(model.named_parameters())
    restore_optimiser(optimizer, saved(optimiser_state(optimizer, named)), named)
    model(torch.randn(2, 3)).sum().backward()
    optimizer.step()
    assert len(optimizer.state) == len(named)


def test_a_schedule_does_not_warn_of_an_optimiser_that_was_restored(recwarn):
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule, named = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9), dict(model.named_parameters())
    restore_optimiser(optimizer, saved(optimiser_state(optimizer, named)), named)
    schedule.step()
    assert not recwarn.list
