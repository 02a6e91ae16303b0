"""The learned map of a term: how it begins, learns, is renewed, counted and restored."""

import copy

import pytest
import torch
from torch import nn

from ckd import Adaptor, Engine, Fixed, Objective, Term, tap
from ckd.errors import ConfigError
from ckd.losses import feature_distance
from ckd.objective import teacher
from ckd.part import Ending


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan")])
def test_a_learning_rate_of_nothing_is_refused(lr):
    with pytest.raises(ConfigError, match="learning rate of the adaptor"):
        Adaptor(lr=lr)


KINDS = {
    "features": ((5, 3), (5, 7), nn.Linear),
    "tokens": ((5, 2, 3), (5, 2, 7), nn.Linear),
    "images": ((5, 3, 4, 4), (5, 7, 4, 4), nn.Conv2d),
}


@pytest.mark.parametrize(("student", "target", "kind"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_map_fits_what_it_connects(student, target, kind, dtype):
    adaptor, x = Adaptor(), torch.randn(student, dtype=dtype)
    mapped = adaptor(x, torch.randn(target))  # of a teacher of float32, whatever the student is of
    assert mapped.shape == target
    assert mapped.dtype == dtype
    (name, weight), (_, bias) = adaptor._module.named_parameters()
    assert name == "weight"
    assert isinstance(adaptor._module, kind)
    axis = 1 if len(student) == 4 else -1
    wanted = torch.einsum("...i,oi->...o", x.movedim(axis, -1), weight.flatten(1)) + bias
    assert torch.allclose(mapped.movedim(axis, -1), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("student", "target"),
    [((5, 3), (5, 7, 2)), ((5, 3, 4, 4), (5, 7, 2, 2)), ((5, 2, 3), (5, 4, 3)), ((5, 3, 4, 4), (5, 7))],
)
def test_what_no_linear_map_connects_is_refused(student, target):
    with pytest.raises(ConfigError, match=r"differ in width only.*give Adaptor a module"):
        Adaptor()(torch.randn(student), torch.randn(target))


def test_equal_seeds_begin_with_equal_maps_and_leave_the_global_generator_alone():
    x, t = torch.randn(2, 3), torch.randn(2, 4)
    before = torch.get_rng_state()
    one, same, other = Adaptor(seed=1), Adaptor(seed=1), Adaptor(seed=2)
    assert torch.equal(one(x, t), same(x, t))
    assert not torch.equal(one(x, t), other(x, t))
    assert torch.equal(before, torch.get_rng_state())


def test_a_module_of_ones_own_is_copied():
    own = nn.Linear(3, 4)
    adaptor = Adaptor(own)
    assert torch.equal(adaptor(torch.ones(2, 3), torch.zeros(2, 4)), own(torch.ones(2, 3)))
    adaptor._module.weight.data.zero_()
    assert own.weight.any()


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body, self.head = nn.Linear(3, width), nn.Linear(width, 2)

    def forward(self, x):
        return self.head(self.body(x))


def made(adaptor):
    hidden = teacher("t", output=tap("body"))
    term = Term("hint", target=hidden, output=tap("body"), loss=feature_distance, adaptor=adaptor)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        student, fixed = Net(4), Net(5)
    return Engine(Objective("x", [term], teachers={"t": Fixed(fixed)})), student


def learn(engine, student, optimizer, n=3, seed=0):
    generator, losses = torch.Generator().manual_seed(seed), []
    for _ in range(n):
        optimizer.zero_grad()
        loss = engine.loss(student, torch.randn(6, 3, generator=generator), torch.arange(6) % 2)
        loss.backward()
        optimizer.step()
        engine.after_update(optimizer)
        losses.append(loss.total.item())
    return losses


def test_it_learns_by_itself_and_is_unknown_to_the_users_optimiser():
    adaptor = Adaptor(lr=0.05)
    engine, student = made(adaptor)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.0)
    engine.begin([0, 1])
    first = learn(engine, student, optimizer)
    assert all(p.grad is None for p in adaptor._module.parameters())
    last = learn(engine, student, optimizer, n=50)
    assert sum(last[-3:]) < sum(first)
    mine = {id(p) for p in student.parameters()}
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == mine


@pytest.mark.parametrize("renew", [True, False])
def test_it_begins_anew_after_an_experience_where_it_is_told_to(renew):
    adaptor = Adaptor(lr=0.05, renew=renew)
    engine, student = made(adaptor)
    optimizer, maps = torch.optim.SGD(student.parameters(), lr=0.1), []
    for _ in range(2):
        engine.begin([0, 1])
        maps.append(copy.deepcopy(adaptor._module))
        learn(engine, student, optimizer)
        engine.end()
    engine.begin([0, 1])
    engine.loss(student, torch.randn(6, 3), torch.arange(6) % 2)
    assert (maps[1] is None) == renew
    fresh = Adaptor(seed=2)
    fresh(torch.randn(6, 4), torch.randn(6, 5))
    assert torch.equal(adaptor._module.weight, fresh._module.weight) == renew


def test_its_bytes_are_counted():
    adaptor = Adaptor()
    assert adaptor.nbytes() == {}
    adaptor(torch.randn(2, 3), torch.randn(2, 4))
    assert adaptor.nbytes() == {"adaptors": 4 * (3 * 4 + 4)}


@pytest.mark.parametrize("own", [None, nn.Linear(4, 5)], ids=["linear", "of one's own"])
@pytest.mark.parametrize("before", [0, 4])
def test_with_its_state_another_goes_on_bit_for_bit(own, before):
    """Momentum included; also a map that was never made."""
    engine, student = made(Adaptor(own, lr=0.05, seed=3))
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    engine.begin([0, 1])
    if before:
        learn(engine, student, optimizer, n=before)
    state, again = engine.objective.terms[0].adaptor.state_dict(), copy.deepcopy(student)
    other, _ = made(Adaptor(own, lr=0.05, seed=3))
    other.begin([0, 1])
    other.objective.terms[0].adaptor.load_state_dict(state, again)
    wanted = learn(engine, student, optimizer, seed=1)
    assert learn(other, again, torch.optim.SGD(again.parameters(), lr=0.1), seed=1) == wanted
    assert all(torch.equal(a, b) for a, b in zip(student.parameters(), again.parameters(), strict=True))


def test_a_state_is_loaded_to_where_the_student_is():
    one, other = Adaptor(), Adaptor()
    one(torch.randn(2, 3), torch.randn(2, 4))
    other.load_state_dict(one.state_dict(), nn.Linear(1, 1, device="meta"))
    assert {parameter.device.type for parameter in other._module.parameters()} == {"meta"}


def test_a_map_is_drawn_from_the_cpus_generator_alone(monkeypatch):
    """torch.manual_seed would begin that of a GPU anew too, and with it the dropout of whoever trains."""
    monkeypatch.setattr(torch, "manual_seed", None)
    Adaptor()(torch.randn(2, 3), torch.randn(2, 4))


def test_a_state_is_not_changed_by_what_follows():
    adaptor = Adaptor()
    adaptor(torch.randn(6, 4), torch.randn(6, 5)).sum().backward()
    adaptor.after_update(None)
    state, other = adaptor.state_dict(), Adaptor()
    kept = copy.deepcopy(state)
    other.load_state_dict(state, nn.Linear(1, 1))
    for one in (adaptor, other):
        one(torch.randn(6, 4), torch.randn(6, 5)).sum().backward()
        one.after_update(None)
    assert torch.equal(state["module"]["weight"], kept["module"]["weight"])
    momentum = state["optimiser"]["state"][0]["momentum_buffer"]
    assert torch.equal(momentum, kept["optimiser"]["state"][0]["momentum_buffer"])


def test_an_end_is_no_matter_to_a_map_that_stays():
    adaptor = Adaptor()
    adaptor(torch.randn(2, 3), torch.randn(2, 4))
    kept = adaptor._module
    adaptor.end(Ending(None, None))
    assert adaptor._module is kept
