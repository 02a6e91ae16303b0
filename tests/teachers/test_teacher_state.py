"""Teachers saved and restored in another process: the same outputs and the same future, bit for bit."""

import copy
import io

import pytest
import torch
from models import Growing, MultiHead, adapt
from shared import assert_plain, classes_in, storages
from torch import nn

from ckd.engine.life_cycle import LifeCycle
from ckd.errors import ConfigError, ModelError
from ckd.heads import BiasCorrection
from ckd.objective import Objective
from ckd.outputs import features, logits
from ckd.part import Ending, Update
from ckd.teachers import Ema, Ensemble, Fixed, Snapshot


def network(seed=0, width=3):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, width))


def growing(seed=0, units=4):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Growing()
        adapt(model.classifier, range(units))
        return model


def tied(seed=0):
    """Two layers with one weight."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Tanh(), nn.Linear(6, 6, bias=False))
        model[2].weight = model[0].weight
        return model


def inputs(n=7, seed=0):
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))


def of(teacher, x=None):
    return teacher.outputs(inputs() if x is None else x)[logits]


def follow(teacher, student, steps, seed=0):
    """A random walk of the student with the teacher after it."""
    g = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        with torch.no_grad():
            for p in student.parameters():
                p += torch.randn(p.shape, generator=g)
        student.train()(inputs(seed=int(torch.randint(99, (), generator=g))))  # BatchNorm's statistics and counter
        teacher.after_update(Update(student, *[torch.zeros(1)] * 2, None, torch.zeros(1, 3), 0))


class Living(LifeCycle):
    """A teacher with the life cycle that an engine gives it."""

    def __init__(self, teacher):
        super().__init__(Objective("own", teachers={"t": teacher}))
        self.teacher = teacher

    def __getattr__(self, name):
        return getattr(self.teacher, name)


def fixed():
    return Fixed(network(seed=9, width=4), classes=[0, 1, 2])


TEACHERS = {
    "snapshot": Snapshot,
    "average": lambda: Ema(0.9),
    "average at a rate": lambda: Ema(0.9, rate=0.5),
    "ensemble": lambda: Ensemble([Snapshot(), Ema(0.8, rate=0.5), fixed()], weights=[1, 2, 3]),
    "ensemble of ensembles": lambda: Ensemble([Ensemble([Snapshot(), fixed()], mean="logits"), Ema(0.7)]),
}
NETWORKS = {"plain": network, "growing": growing, "tied": tied}
LIVING = {name: lambda make=make: Living(make()) for name, make in TEACHERS.items()}
EVERY = pytest.mark.parametrize("make", LIVING.values(), ids=LIVING)
EVERY_NETWORK = pytest.mark.parametrize("student_of", NETWORKS.values(), ids=NETWORKS)


def through_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def lived(make, student):
    """A teacher after an experience and a few steps of the next one."""
    teacher = make()
    teacher.begin(student, classes_in([0, 1]))
    follow(teacher, student, 4)
    teacher.end(Ending(student, classes_in([0, 1])))
    teacher.begin(student, classes_in([0, 1], [2]))
    follow(teacher, student, 3, seed=1)
    return teacher


@EVERY
@EVERY_NETWORK
def test_restored_it_gives_the_same_and_goes_on_alike(make, student_of):
    student = student_of()
    teacher = lived(make, student)
    state = through_file(teacher.state_dict())
    twin, its_student = make(), student_of(seed=5)
    its_student.load_state_dict(student.state_dict())
    twin.load_state_dict(state, its_student)
    assert twin.ready
    for one in (teacher, twin):
        one.begin(student if one is teacher else its_student, classes_in([0, 1], [2]))
    for seed in range(3):
        assert torch.equal(of(teacher), of(twin))
        follow(teacher, student, 2, seed)
        follow(twin, its_student, 2, seed)
    for one, its in ((teacher, student), (twin, its_student)):
        one.end(Ending(its, classes_in([0, 1], [2])))
    assert torch.equal(of(teacher), of(twin))
    for width in (3, 6):
        masks = [one.valid(width, None, torch.device("cpu")) for one in (teacher, twin)]
        assert masks[0] is masks[1] is None or torch.equal(*masks)
    assert twin.nbytes() == teacher.nbytes()


@EVERY
def test_its_state_is_plain_and_a_copy(make):
    student = growing()
    teacher = lived(make, student)
    state = teacher.state_dict()
    assert_plain(state)
    assert_plain(make().state_dict())
    held = {p.untyped_storage().data_ptr() for part in parts(teacher) for p in part.model.module.state_dict().values()}
    assert not storages(state) & held
    twin = make()
    twin.load_state_dict(state, student)
    its = {p.untyped_storage().data_ptr() for part in parts(twin) for p in part.model.module.state_dict().values()}
    assert not storages(state) & its
    assert not its & {p.untyped_storage().data_ptr() for p in student.state_dict().values()}


def parts(teacher):
    """The teachers with a network of their own in it, but for those that were given one."""
    teacher = teacher.teacher if isinstance(teacher, Living) else teacher
    if isinstance(teacher, Ensemble):
        return [part for one in teacher.teachers for part in parts(one)]
    return [] if isinstance(teacher, Fixed) else [teacher]


@EVERY
def test_restored_it_is_frozen_and_the_student_is_left_alone(make):
    student = network()
    teacher, twin, other = lived(make, student), make(), network(seed=7).train()
    before = {name: value.clone() for name, value in other.state_dict().items()}
    twin.load_state_dict(teacher.state_dict(), other)
    for part in parts(twin):
        assert not any(m.training for m in part.model.modules())
        assert not any(p.requires_grad for p in part.model.parameters())
    assert all(m.training for m in other.modules())
    assert all(p.requires_grad for p in other.parameters())
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


@EVERY
def test_before_it_is_ready_it_is_restored_as_that(make):
    twin = lived(make, network())
    twin.load_state_dict(make().state_dict(), network())
    assert twin.ready == make().ready
    assert [part.ready for part in parts(twin)] == [False] * len(parts(twin))


GROWN = {
    "wider": (lambda units: network(width=units), lambda units: network(seed=5, width=units)),
    "Avalanche's": (lambda units: growing(units=units), lambda units: growing(seed=5, units=units)),
}


@EVERY
@pytest.mark.parametrize("now", [2, 3, 4, 9])
@pytest.mark.parametrize("kind", GROWN)
def test_a_student_whose_head_has_another_width_by_now_gets_the_teacher_of_that_time(make, now, kind):
    student_of, other_of = GROWN[kind]
    student = student_of(4)
    teacher, twin = lived(make, student), make()
    twin.load_state_dict(through_file(teacher.state_dict()), other_of(now))
    assert torch.equal(of(teacher), of(twin))
    assert twin.nbytes() == teacher.nbytes()
    for one, other in zip(parts(teacher), parts(twin), strict=True):
        if kind == "wider":
            found = [part.outputs(inputs(), None, [features])[features] for part in (one, other)]
            assert torch.equal(*found)
            assert other.model.module[3].out_features == 4


def test_an_average_restored_after_the_head_grew_is_carried_into_it_as_without_a_break():
    student = network(width=3)
    teacher, twin = lived(lambda: Ema(0.9), student), Ema(0.9)
    grown = network(seed=2, width=5)
    twin.load_state_dict(through_file(teacher.state_dict()), grown)
    for one in (teacher, twin):
        its = copy.deepcopy(grown)
        one.begin(its, classes_in([0, 1], [2], [3, 4]))
        follow(one, its, 3)
    assert torch.equal(of(teacher), of(twin))
    assert of(twin).shape == (7, 5)


def test_a_teacher_of_a_student_with_heads_for_more_tasks_by_now():
    def student(tasks, seed=0):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = MultiHead()
            for task in tasks:
                adapt(model.classifier, [0, 1], task)
            return model

    old = student([0, 1])
    snapshot, twin = Snapshot(), Snapshot()
    snapshot.end(Ending(old, classes_in({0: [0, 1]}, {1: [0, 1]}, per_task=True)))
    twin.load_state_dict(through_file(snapshot.state_dict()), student([0, 1, 2], seed=4))
    tasks = torch.tensor([0, 1, 1, 0, 2, 2, 7])
    one, other = (teacher.outputs(inputs(), tasks)[logits] for teacher in (snapshot, twin))
    assert torch.equal(one, other)


@EVERY
def test_a_student_of_another_kind_is_refused(make):
    state = lived(make, network()).state_dict()
    with pytest.raises(ModelError, match=r"state of a teacher: expected tensors of Linear; received also 0\.weight"):
        make().load_state_dict(state, nn.Linear(6, 3))


def test_the_state_of_an_ensemble_of_another_size_is_refused():
    state = lived(LIVING["ensemble"], network()).state_dict()
    with pytest.raises(ConfigError, match=r"state of an engine, parts: .*differ in: .*member 2 of teacher t"):
        Living(Ensemble([Snapshot(), Ema()])).load_state_dict(state, network())


def corrected():
    """A snapshot of an evaluation model that wraps the student, as BiC's."""
    student, correction, snapshot = network(), BiasCorrection(), Snapshot(of_evaluation_model=True)
    correction.scale, correction.shift = torch.tensor([1.0, 1.0, 0.5]), torch.tensor([0.0, 0.0, 2.0])
    classes = classes_in([0, 1], [2])
    snapshot.end(Ending(student, classes, evaluation_model=lambda: correction.evaluation_model(student)))
    return snapshot, correction


def test_a_snapshot_of_the_evaluation_model_is_restored_into_one():
    snapshot, correction = corrected()
    twin = Snapshot(of_evaluation_model=True)
    twin.load_state_dict(through_file(snapshot.state_dict()), correction.evaluation_model(network(seed=5)))
    assert torch.equal(of(snapshot), of(twin))


def test_a_snapshot_of_the_evaluation_model_is_never_filled_with_the_students_weights():
    snapshot, _ = corrected()
    with pytest.raises(ModelError, match=r"state of a teacher.*also .*model\.0\.weight"):
        Snapshot(of_evaluation_model=True).load_state_dict(snapshot.state_dict(), network(seed=5))
