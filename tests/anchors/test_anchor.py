"""The pull against the minimiser that it is said to be, and its place in a training step."""

import copy
import io

import numpy as np
import pytest
import torch
from shared import assert_plain, classes_in, storages
from torch import nn

from ckd import Objective
from ckd.anchors import Anchor, Diagonal, Kronecker
from ckd.errors import ConfigError
from ckd.memory import Rows
from ckd.part import Ending, Update
from ckd.teachers import Snapshot

CLASSES = classes_in(range(3))
CURVATURES = pytest.mark.parametrize(
    "curvature", [Diagonal, lambda: Kronecker(dtype=torch.float64)], ids=["diag", "kron"]
)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def built(seed=0, width=3):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, width)).double()


def held(curvature, model, **settings):
    """An anchor at `model`, after an experience of 30 samples."""
    snapshot = Snapshot()
    anchor = Anchor(snapshot, curvature, **settings)
    rows = Rows(random(30, 4), *[torch.zeros(30).long()] * 3)
    ending = Ending(model, CLASSES, data=lambda: iter([rows]))
    snapshot.end(ending)
    anchor.end(ending)
    return anchor


@CURVATURES
def test_a_state_is_loaded_to_where_the_student_is(curvature):
    state, elsewhere = held(curvature(), built()).state_dict(), built().to("meta")
    anchor = Anchor(Snapshot(), curvature())
    anchor.load_state_dict(state, elsewhere)
    found = tensors(anchor.curvature.state_dict())
    assert found
    assert {tensor.device.type for tensor in found} == {"meta"}
    assert {tensor.device.type for tensor in tensors(state)} == {"cpu"}


def tensors(state):
    """Every tensor of a state."""
    if isinstance(state, dict):
        return [tensor for value in state.values() for tensor in tensors(value)]
    return [state] if isinstance(state, torch.Tensor) else []


def moved(model, by=1.0, seed=5):
    """A copy elsewhere."""
    other = copy.deepcopy(model)
    for i, p in enumerate(other.parameters()):
        p.data += by * random(*p.shape, seed=seed + i)
    return other


def update(model, lr):
    return Update(model, *[torch.zeros(1)] * 2, None, torch.zeros(1, 3), 0, lr=lr)


def vector(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def distances(model, home):
    return {n: p - q.detach() for (n, p), (_, q) in zip(model.named_parameters(), home.named_parameters(), strict=True)}


# the pull ----------------------------------------------------------------------------------------------------------


@CURVATURES
@pytest.mark.parametrize(("weight", "lr"), [(1.0, 0.1), (50.0, 0.3), (0.2, 10.0)])
def test_the_pull_is_the_minimiser_that_the_hessian_of_the_penalty_says(curvature, weight, lr):
    """(θ - θ*) ← (1 + η w F)⁻¹ (θ - θ*), with F the second derivative of the curvature's penalty."""
    home = built()
    anchor, student = held(curvature(), home, weight=weight), moved(home)
    delta = (vector(student) - vector(home)).numpy()

    def penalty(flat):
        sizes = [p.numel() for p in home.parameters()]
        parts = zip(home.named_parameters(), flat.split(sizes), strict=True)
        return anchor.curvature.penalty({name: part.view_as(p) for (name, p), part in parts})

    fisher = torch.autograd.functional.hessian(penalty, torch.zeros(len(delta))).numpy()
    assert anchor.penalty(student).item() == pytest.approx(weight * delta @ fisher @ delta / 2, rel=1e-6)
    anchor.after_update(update(student, lr))
    wanted = np.linalg.solve(np.eye(len(delta)) + lr * weight * fisher, delta)
    np.testing.assert_allclose((vector(student) - vector(home)).numpy(), wanted, rtol=1e-5, atol=1e-7)


@CURVATURES
def test_it_is_a_proximal_step(curvature):
    """No slope is left in ‖θ' - θ‖² / (2 η) + penalty(θ'), and the penalty fell."""
    home = built()
    anchor, student = held(curvature(), home, weight=3.0), moved(home)
    before, was = vector(student), anchor.penalty(student).item()
    anchor.after_update(update(student, 0.7))
    assert anchor.penalty(student).item() < was
    moved_by = (vector(student) - before).square().sum() / (2 * 0.7)
    assert moved_by.item() + anchor.penalty(student).item() < was
    slope = torch.cat(
        [
            g.flatten()
            for g in torch.autograd.grad(
                3.0 * anchor.curvature.penalty(distances(student, home)), list(student.parameters())
            )
        ]
    )
    np.testing.assert_allclose((vector(student) - before).numpy() / 0.7, -slope.numpy(), rtol=1e-6, atol=1e-9)


@CURVATURES
def test_to_first_order_it_is_a_gradient_step_of_the_penalty(curvature):
    home = built()
    anchor, gaps = held(curvature(), home, weight=2.0), []
    for lr in (1e-2, 1e-3):
        student = moved(home)
        penalty = 2.0 * anchor.curvature.penalty(distances(student, home))
        slope = torch.cat([g.flatten() for g in torch.autograd.grad(penalty, list(student.parameters()))])
        before = vector(student)
        anchor.after_update(update(student, lr))
        gaps.append(((vector(student) - before) / lr + slope).norm() / slope.norm())
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.1)  # what differs is of the next order
    assert gaps[1] < 0.01


def test_at_home_or_without_a_learning_rate_nothing_moves():
    home = built()
    anchor = held(Kronecker(), home)
    for student, lr in ((moved(home), 0.0), (copy.deepcopy(home), 1.0)):
        before = vector(student)
        anchor.after_update(update(student, lr))
        assert torch.equal(before, vector(student))


def test_frozen_parameters_are_not_moved():
    home = built()
    student = moved(home)
    student[0].requires_grad_(False)
    before = copy.deepcopy(student)
    held(Kronecker(), home).after_update(update(student, 0.5))
    assert torch.equal(student[0].weight, before[0].weight)
    assert not torch.equal(student[2].weight, before[2].weight)


def test_weights_that_came_later_are_free(isotropic):
    home, student = built(), moved(built(width=5))
    student.append(nn.Linear(5, 5).double())
    before = copy.deepcopy(student)
    held(isotropic, home).after_update(update(student, 1.0))  # half the way
    assert torch.allclose(student[2].weight[:3], (before[2].weight[:3] + home[2].weight) / 2)
    assert torch.allclose(student[2].bias[:3], (before[2].bias[:3] + home[2].bias) / 2)
    assert torch.equal(student[2].weight[3:], before[2].weight[3:])
    assert torch.equal(student[3].weight, before[3].weight)


def test_before_an_experience_ends_nothing_is_held():
    anchor, student = Anchor(Snapshot(), Kronecker()), built()
    before = vector(student)
    anchor.after_update(update(student, 1.0))
    assert torch.equal(before, vector(student))
    assert anchor.penalty(student) == 0
    assert anchor.nbytes() == {"curvature": 0}


def test_an_experience_without_data_leaves_it_as_it_was():
    anchor = Anchor(Snapshot(), Kronecker())
    anchor.teacher.end(Ending(built(), CLASSES))
    anchor.end(Ending(built(), CLASSES))
    anchor.after_update(update(moved(built()), 1.0))
    assert anchor.penalty(built()) == 0


# state -------------------------------------------------------------------------------------------------------------

EVERY = pytest.mark.parametrize(
    "curvature",
    [Diagonal, Kronecker, lambda: Kronecker(rank=2), lambda: Kronecker(dtype=torch.float64)],
    ids=["diagonal", "bfloat16", "rank 2", "float64"],
)


def mixed(seed=0):
    """A network with factors and, for BatchNorm, a diagonal."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)).double()


def through_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def twin_of(anchor, curvature, **settings):
    """Another anchor, and its teacher, restored from the states of this one's."""
    snapshot, home = Snapshot(), anchor.teacher.model.module
    twin = Anchor(snapshot, curvature, seed=99, **settings)
    snapshot.load_state_dict(through_file(anchor.teacher.state_dict()), copy.deepcopy(home))
    twin.load_state_dict(through_file(anchor.state_dict()), copy.deepcopy(home))
    return twin


@EVERY
def test_restored_it_gives_the_same_next_pull_bit_for_bit_and_measures_alike(curvature):
    home, settings = mixed(), {"weight": 3.0, "decay": 0.5, "samples": 20}
    anchor = held(curvature(), home, **settings)
    twin = twin_of(anchor, curvature(), **settings)
    one, other = moved(home), moved(home)
    for step in range(3):
        for an_anchor, student in ((anchor, one), (twin, other)):
            an_anchor.after_update(update(student, 0.3 / (step + 1)))
        assert torch.equal(vector(one), vector(other))
        assert torch.equal(anchor.penalty(one), twin.penalty(other))
        assert not torch.equal(vector(one), vector(moved(home)))
        rows = Rows(random(30, 4, seed=step + 1), *[torch.zeros(30).long()] * 3)
        for an_anchor, student in ((anchor, one), (twin, other)):  # which samples, and their labels, are drawn
            ending = Ending(student, CLASSES, data=lambda rows=rows: iter([rows]))
            an_anchor.teacher.end(ending)
            an_anchor.end(ending)
        one, other = moved(one, seed=step), moved(other, seed=step)
    assert twin.nbytes() == anchor.nbytes()


@EVERY
def test_its_state_is_plain_and_a_copy(curvature):
    blank, anchor = Anchor(Snapshot(), curvature()), held(curvature(), mixed())
    assert_plain(blank.state_dict())
    state = anchor.state_dict()
    assert_plain(state)
    assert len(storages(state)) > 3
    assert not storages(state) & storages(anchor.state_dict())
    before = through_file(state)
    twin = Anchor(Snapshot(), curvature())
    for one in (anchor, twin):
        one.load_state_dict(state, mixed())
        assert not storages(state) & held_by(one.curvature)
    assert_same(state, before)


def held_by(curvature):
    """Addresses of the tensors that a curvature holds."""
    kept = list(getattr(curvature, "_rest", curvature)._fisher.values())
    for layer in getattr(curvature, "_layers", {}).values():
        kept += [layer.g_vectors, layer.g_values, layer.a_vectors, layer.a_values]
    return storages(kept)


def assert_same(one, other):
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert_same(value, other[name])
    else:
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@EVERY
def test_before_an_experience_ends_it_is_restored_as_that(curvature):
    anchor, student = held(curvature(), mixed()), moved(mixed())
    before = vector(student)
    anchor.load_state_dict(Anchor(Snapshot(), curvature()).state_dict(), mixed())
    anchor.after_update(update(student, 1.0))
    assert torch.equal(before, vector(student))
    assert anchor.penalty(student) == 0
    assert anchor.nbytes() == {"curvature": 0}


def test_it_needs_task_boundaries_and_the_data_of_the_experience():
    anchor = Anchor(Snapshot(), Diagonal())
    assert anchor.needs_boundaries
    assert anchor.needs_data
    assert not anchor.needs_head


# what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"weight": -0.1}, "weight of the anchor: expected a finite number, 0 or more; received -0.1"),
        ({"weight": float("inf")}, "weight of the anchor"),
        ({"weight": float("nan")}, "weight of the anchor"),
        ({"decay": 1.1}, "decay of the anchor: expected from 0 to 1; received 1.1"),
        ({"decay": -0.1}, "decay of the anchor"),
        ({"decay": float("nan")}, "decay of the anchor"),
        ({"samples": 0}, "samples of the anchor: expected a whole number, 1 or more; received 0"),
        ({"samples": 2000.0}, r"samples of the anchor: expected a whole number .*; received 2000\.0"),
    ],
)
def test_settings_outside_their_range_are_refused(given, expected):
    with pytest.raises(ConfigError, match=expected):
        Anchor(Snapshot(), Diagonal(), **given)


def test_its_teacher_must_be_one_of_the_objectives():
    with pytest.raises(ConfigError, match="teacher of the anchor: expected one of the teachers; received another"):
        Objective("mine", teachers={"snapshot": Snapshot()}, anchor=Anchor(Snapshot(), Diagonal()))
