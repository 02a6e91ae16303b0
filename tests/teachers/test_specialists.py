"""A generalist and its specialists as one teacher: eq. 5 sample by sample, and who is asked for what."""

import copy

import numpy as np
import pytest
import torch
from scipy.special import softmax
from shared import classes_in
from torch import nn

from ckd import Engine, Objective, Term
from ckd.engine.life_cycle import LifeCycle
from ckd.errors import ConfigError, ModelError
from ckd.losses import kd
from ckd.objective import teacher
from ckd.outputs import features, logits, tap
from ckd.teachers import Ema, Ensemble, Fixed, Snapshot, Specialists

C = 5
CPU = torch.device("cpu")


class Table(nn.Module):
    """Logits for each sample from a table; the inputs are row numbers. It notes which rows it was asked for."""

    def __init__(self, table):
        super().__init__()
        self.table, self.asked = nn.Parameter(torch.as_tensor(table, dtype=torch.float64)), []

    def forward(self, x):
        self.asked += x[:, 0].int().tolist()
        return self.table[x[:, 0].long()]


def table(width, n=4, seed=0):
    return 2 * np.random.default_rng(seed).standard_normal((n, width))


def rows(n=4):
    return torch.arange(n, dtype=torch.float64)[:, None]


def general():
    """The top classes of the four samples are 0, 1, 2 and 4."""
    z = table(C)
    z[range(4), [0, 1, 2, 4]] = 5
    return z


def asked(one, n=4):
    return one.outputs(rows(n))[logits]


def pair(z, classes, m, shift=0.0):
    """The closed form for one specialist."""
    p, m = softmax(z), softmax(m + np.append(np.zeros(len(classes)), shift))
    rest = [c for c in range(C) if c not in classes]
    q = np.empty(C)
    q[list(classes)] = (p[list(classes)] + m[:-1]) / 2
    q[rest] = p[rest] / p[rest].sum() * (p[rest].sum() + m[-1]) / 2
    return q


def test_specialists_are_asked_for_the_samples_whose_top_class_is_theirs_only():
    one, other = Table(table(3, seed=1)), Table(table(3, seed=2))
    found = asked(Specialists(Table(general()), {(1, 0): one, (4, 3): other})).exp().numpy()
    assert (one.asked, other.asked) == ([0, 1], [3])
    for b, (classes, m) in enumerate([((1, 0), one), ((1, 0), one), (None, None), ((4, 3), other)]):
        z = general()[b]
        wanted = softmax(z) if classes is None else pair(z, classes, m.table[b].detach().numpy())
        np.testing.assert_allclose(found[b], wanted, rtol=1e-12)


def test_without_a_specialist_for_any_sample_none_is_asked_and_the_generalist_is_all():
    one = Table(table(2))
    found = asked(Specialists(Table(general()), {(3,): one}))
    assert one.asked == []
    torch.testing.assert_close(found, torch.as_tensor(general()).log_softmax(1))


@pytest.mark.parametrize("top", [1, C])
def test_specialists_that_say_what_the_generalist_says_change_nothing(top):
    z, sets = torch.as_tensor(general()), [(0, 1), (2, 4, 1), (3,)]
    outside = [[c for c in range(C) if c not in classes] for classes in sets]
    same = {
        classes: Table(torch.cat([z[:, list(classes)], z[:, rest].logsumexp(1, keepdim=True)], 1))
        for classes, rest in zip(sets, outside, strict=True)
    }
    torch.testing.assert_close(asked(Specialists(Table(z), same, top=top)), z.log_softmax(1))


def test_with_more_top_classes_more_specialists_are_asked():
    z = general()
    z[0, 3] = 4.9
    for top, wanted in ((1, []), (2, [0])):
        one = Table(table(2))
        asked(Specialists(Table(z), {(3,): one}, top=top), 1)
        assert one.asked == wanted


def test_overlapping_specialists_reach_the_minimum():
    """Where no small change of z lowers eq. 5: the gradient of a plain autograd loop is 0."""
    sets = {(0, 1): Table(table(3, seed=1)), (0, 2, 3): Table(table(4, seed=2)), (0, 4): Table(table(3, seed=3))}
    z = asked(Specialists(Table(general()), sets), 1)[0].clone().requires_grad_()
    log_q = z.log_softmax(0)
    value = -(torch.as_tensor(general()[0]).softmax(0) @ log_q)
    for classes, m in sets.items():
        p, rest = m.table[0].detach().softmax(0), [c for c in range(C) if c not in classes]
        value = value - p[:-1] @ log_q[list(classes)] - p[-1] * log_q[rest].logsumexp(0)
    assert torch.autograd.grad(value, z)[0].abs().max() < 1e-7


def test_the_dustbin_is_corrected_by_its_shift():
    one, other = Table(table(3, seed=1)), Table(table(2, seed=2))
    found = asked(Specialists(Table(general()), {(0, 1): one, (4,): other}, dustbin_shifts=[1.5, -0.5]))
    wanted = pair(general()[1], (0, 1), one.table[1].detach().numpy(), 1.5)
    np.testing.assert_allclose(found[1].exp(), wanted, rtol=1e-12)
    wanted = pair(general()[3], (4,), other.table[3].detach().numpy(), -0.5)
    np.testing.assert_allclose(found[3].exp(), wanted, rtol=1e-12)


def test_a_class_that_the_generalist_does_not_know_takes_no_probability():
    z = general()
    z[:, 3] = 50.0
    combined = Specialists(Fixed(Table(z), classes=[0, 1, 2, 4]), {(0, 1): Table(table(3, seed=1))})
    found, known = asked(combined), combined.valid(C, None, CPU)
    assert known.tolist() == [True, True, True, False, True]
    torch.testing.assert_close(found[:, known].exp().sum(1), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(found[2, known], torch.as_tensor(z)[2, known].log_softmax(0))


def test_teachers_of_any_kind_and_dtype_may_be_specialists():
    several = Ensemble([Fixed(Table(table(3, seed=1)).float()), Fixed(Table(table(3, seed=2)))])
    found = asked(Specialists(Fixed(Table(general())), {(0, 1): several}))
    z = several.outputs(rows())[logits][0].numpy()
    np.testing.assert_allclose(found[0].exp(), pair(general()[0], (0, 1), z), rtol=1e-6)


def test_a_sample_does_not_depend_on_the_others_of_its_batch():
    sets = {(0, 1): Table(table(3, seed=1)), (0, 2, 3): Table(table(4, seed=2))}
    combined = Specialists(Table(general()), sets)
    alone = torch.cat([combined.outputs(rows()[b : b + 1])[logits] for b in range(4)])
    torch.testing.assert_close(asked(combined), alone)


# as a teacher of an objective --------------------------------------------------------------------------------------


def networks():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return [nn.Linear(4, width) for width in (3, 3, 2)]


def test_a_student_learns_from_it_and_none_of_its_networks_changes():
    student, generalist, specialist = networks()
    before = copy.deepcopy([generalist.state_dict(), specialist.state_dict()])
    combined = Specialists(generalist, {(2,): specialist}, top=3)
    term = Term("kd", target=teacher("t"), loss=kd)
    engine = Engine(Objective("x", [term], criterion=Term("labels", weight=0.0), teachers={"t": combined}))
    optimizer, x = torch.optim.SGD(student.parameters(), lr=0.5), torch.randn(20, 4)
    engine.begin(range(3))
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = engine.loss(student, x, torch.arange(20) % 3)
        loss.backward()
        optimizer.step()
        engine.after_update(optimizer)
        losses.append(loss.parts["kd"].item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(
        torch.equal(v, b[k])
        for m, b in zip((generalist, specialist), before, strict=True)
        for k, v in m.state_dict().items()
    )
    assert engine.nbytes()["teachers"] == 4 * (5 * 3 + 5 * 2)


def test_its_teachers_live_the_life_of_the_run():
    combined = Specialists(Snapshot(), {(1,): Ema(0.5)})
    assert not combined.ready
    assert combined.needs_boundaries
    parts = LifeCycle(Objective("own", teachers={"t": combined}))
    assert [name.partition(" of ")[0] for name in parts.parts] == ["teacher t", "generalist", "specialist 0"]
    student = networks()[2]
    parts.begin(student, classes_in([0, 1]))
    assert combined.specialists[1,].ready
    assert not Specialists(networks()[0], {(1,): networks()[2]}).needs_boundaries


# what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [{}, [], None, nn.Linear(2, 2)])
def test_no_specialists_are_refused(given):
    with pytest.raises(ConfigError, match=r"specialists: expected {classes: network}"):
        Specialists(nn.Linear(2, 3), given)


@pytest.mark.parametrize("classes", [(), (1, 1), (-1, 2), "cats", 3.5])
def test_classes_that_are_no_different_indices_are_refused(classes):
    with pytest.raises(ConfigError, match="classes of a specialist: expected different indices from 0"):
        Specialists(nn.Linear(2, 3), {classes: nn.Linear(2, 2)})


@pytest.mark.parametrize("shifts", [[], [1.0, 2.0], [float("nan")], [float("inf")]])
def test_shifts_that_do_not_fit_are_refused(shifts):
    with pytest.raises(ConfigError, match="dustbin shifts: expected 1 finite numbers"):
        Specialists(nn.Linear(2, 3), {(1,): nn.Linear(2, 2)}, dustbin_shifts=shifts)


def test_no_top_class_and_outputs_of_modules_are_refused():
    with pytest.raises(ConfigError, match="top classes of the generalist"):
        Specialists(nn.Linear(2, 3), {(1,): nn.Linear(2, 2)}, top=0)
    combined = Specialists(nn.Linear(2, 3), {(1,): nn.Linear(2, 2)})
    for wanted in (features, tap("0")):
        with pytest.raises(ConfigError, match=r"specialists: expected logits to be wanted.*the generalist"):
            combined.outputs(torch.zeros(1, 2), None, [wanted])


@pytest.mark.parametrize("width", [1, 3])
def test_a_head_without_a_dustbin_or_with_too_many_outputs_is_refused(width):
    combined = Specialists(nn.Linear(2, 3), {(1,): nn.Linear(2, width)}, top=3)
    with pytest.raises(ModelError, match=r"specialist: expected 2 logits, one for each of 1 and the dustbin"):
        combined.outputs(torch.zeros(1, 2))


@pytest.mark.parametrize("classes", [(0, 3), (0, 1, 2)])
def test_a_specialist_of_a_class_too_many_or_of_all_is_refused(classes):
    combined = Specialists(nn.Linear(2, 3), {classes: nn.Linear(2, 1 + len(classes))})
    with pytest.raises(ModelError, match=r"generalist: expected a generalist of all classes.*received 3 logits"):
        combined.outputs(torch.zeros(1, 2))
