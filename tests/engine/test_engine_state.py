"""The state of an engine: another one goes on with it bit for bit, and it is tensors and plain data."""

import copy
import io

import pytest
import torch
from torch import Tensor, nn

from ckd import Adaptor, Ema, Engine, Ensemble, Fixed, Objective, Snapshot, Term, recipes, tap
from ckd.classes import ClassSet
from ckd.errors import CkdError, ConfigError
from ckd.losses import feature_distance, kd
from ckd.objective import features, teacher
from ckd.recipes import RECIPES

NAMES = sorted(name for name, recipe in RECIPES.items() if recipe.strategy == "Naive" and not recipe.teacher)


def hinted():
    """A learned map that is kept, another that is renewed, and an ensemble of a snapshot and an average."""
    hints = [
        Term(
            name,
            target=teacher("both" if name == "kd" else "past", output=output),
            output=output,
            loss=kd if name == "kd" else feature_distance,
            adaptor=adaptor,
        )
        for name, output, adaptor in (
            ("kept", tap("0"), Adaptor(seed=1)),
            ("renewed", features, Adaptor(renew=True)),
            ("kd", teacher("both").output, None),
        )
    ]
    teachers = {"past": Snapshot(), "both": Ensemble([Snapshot(), Ema(0.9, rate=0.5)])}
    return recipes.der_plus_plus(memory_size=20).extend(*hints, name="hinted", teachers=teachers)


def averaged(name):
    return lambda: recipes.get(name).build(memory_size=20).with_average(0.9)


def built(name):
    size = {"memory_size": 20} if "memory_size" in RECIPES[name].defaults else {}
    return lambda: RECIPES[name].build(**size)


MAKE = {name: built(name) for name in NAMES}
MAKE |= {"bic, averaged": averaged("bic"), "icarl, averaged": averaged("icarl"), "hints and an ensemble": hinted}


class Run:
    """A plain loop that can be left and taken up at any step."""

    def __init__(self, make, student):
        self.engine, self.student = Engine(make()), student
        self.optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.5)

    def begin(self, x, y):
        self.engine.begin(y.unique().tolist())

    def steps(self, x, y, start=0, stop=None):
        """The total, the parts and the logits of each step."""
        found = []
        for bx, by in list(zip(x.split(8), y.split(8), strict=True))[start:stop]:
            self.optimizer.zero_grad()
            loss = self.engine.loss(self.student, bx, by)
            loss.backward()
            self.optimizer.step()
            self.engine.after_update(self.optimizer)
            found.append((loss.total.item(), {k: v.item() for k, v in loss.parts.items()}, loss.logits.tolist()))
        return found

    def whole(self, x, y):
        self.begin(x, y)
        found = self.steps(x, y)
        self.engine.end((x, y))
        return found

    def taken_up(self, make, state, student, optimizer):
        """Another run that goes on where a state was saved."""
        other = Run(make, copy.deepcopy(student))
        other.optimizer.load_state_dict(copy.deepcopy(optimizer))
        other.engine.load_state_dict(state, other.student)
        return other


def saved(run):
    return run.engine.state_dict(), copy.deepcopy(run.student), copy.deepcopy(run.optimizer.state_dict())


def rest(run, experiences, at):
    """What follows the place where it was saved."""
    if at == "after two experiences":
        return [*run.whole(*experiences[2]), *run.whole(*experiences[3])]
    start = {"in the middle": 2, "before the end": None}[at]
    found = run.steps(*experiences[2], start=start) if start else []
    run.engine.end(experiences[2])
    return [*found, *run.whole(*experiences[3])]


PLACES = ["after two experiences", "in the middle", "before the end"]


@pytest.mark.parametrize("at", PLACES)
@pytest.mark.parametrize("name", MAKE)
def test_with_its_state_another_engine_goes_on_bit_for_bit(name, at, blobs, network):
    experiences = [(x[:24], y[:24]) for x, y in blobs(same_classes=name == "self-distillation")]
    experiences.append(experiences[0])  # classes that come again
    run = Run(MAKE[name], network())
    for data in experiences[:2]:
        run.whole(*data)
    if at != "after two experiences":
        run.begin(*experiences[2])
        run.steps(*experiences[2], stop={"in the middle": 2}.get(at))
    (state, student, optimizer), held = saved(run), run.engine.nbytes()
    wanted = rest(run, experiences, at)
    predicted = run.engine.evaluation_model(run.student)(experiences[0][0])
    for _ in range(2):  # neither going on nor loading changes the state
        other = run.taken_up(MAKE[name], state, student, optimizer)
        assert other.engine.nbytes() == held
        assert rest(other, experiences, at) == wanted
        assert torch.equal(other.engine.evaluation_model(other.student)(experiences[0][0]), predicted)
        assert all(torch.equal(a, b) for a, b in zip(run.student.parameters(), other.student.parameters(), strict=True))
        assert other.engine.nbytes() == run.engine.nbytes()


def kinds(value):
    """What is not a tensor or plain data in a state."""
    if isinstance(value, dict):
        return [kind for key, one in value.items() for kind in (*kinds(key), *kinds(one))]
    if isinstance(value, list | tuple):
        return [kind for one in value for kind in kinds(one)]
    plain = value is None or type(value) in (Tensor, str, int, float, bool)
    return [] if plain else [type(value)]


@pytest.mark.parametrize("name", MAKE)
def test_a_state_is_tensors_and_plain_data(name, blobs, network):
    """It survives a file that is read without unpickling objects, bit for bit."""
    run, experiences = Run(MAKE[name], network()), blobs()
    for data in experiences[:2]:
        run.whole(*data)
    run.begin(*experiences[2])
    run.steps(*experiences[2], stop=2)
    state, student, optimizer = saved(run)
    assert kinds(state) == []
    assert not any(value.requires_grad for value in tensors(state))
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    read = torch.load(file, weights_only=True)
    wanted = run.steps(*experiences[2], start=2)
    assert run.taken_up(MAKE[name], read, student, optimizer).steps(*experiences[2], start=2) == wanted


def tensors(value):
    if isinstance(value, dict | list | tuple):
        inner = value.values() if isinstance(value, dict) else value
        return [tensor for one in inner for tensor in tensors(one)]
    return [value] if isinstance(value, Tensor) else []


@pytest.mark.parametrize("name", NAMES)
def test_the_state_of_another_recipe_is_refused(name, blobs, network):
    run = Run(MAKE[name], network())
    run.whole(*blobs()[0])
    state = run.engine.state_dict()
    for other in NAMES:
        if other != name:
            engine = Engine(MAKE[other]())
            with pytest.raises(ConfigError, match="Build the engine with the recipe that the state was saved from"):
                engine.load_state_dict(state, network())


def test_the_state_of_a_sum_with_other_parts_is_refused(blobs, network):
    run = Run(built("lwf"), network())
    run.whole(*blobs()[0])
    more = recipes.lwf().extend(teachers={"other": Snapshot()})
    with pytest.raises(ConfigError, match="teacher other"):
        Engine(more).load_state_dict(run.engine.state_dict(), network())


def test_of_another_size_of_memory_too(blobs, network):
    run = Run(built("er"), network())
    run.whole(*blobs()[0])
    with pytest.raises(ConfigError, match="memory of the size it was saved from"):
        Engine(recipes.er(memory_size=10)).load_state_dict(run.engine.state_dict(), network())


def test_of_a_network_with_other_layers_too(blobs, network):
    """Rather than teach with what it has not."""
    run = Run(built("lwf"), network())
    run.whole(*blobs()[0])
    other = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 6)))
    with pytest.raises(CkdError, match="student of the kind that the teacher is a copy of"):
        Engine(recipes.lwf()).load_state_dict(run.engine.state_dict(), other)


def test_a_fixed_teacher_is_given_anew(blobs, network):
    """It is not in the state: whoever gave it keeps it."""

    def make():
        fixed = Fixed(network(seed=7), classes=[0, 1, 2])
        return Objective("x", [Term("kd", target=teacher("t"), loss=kd)], teachers={"t": fixed})

    run = Run(make, network())
    run.whole(*blobs()[0])
    state, student, optimizer = saved(run)
    assert tensors(state["parts"]) == []
    wanted = run.whole(*blobs()[1])
    assert run.taken_up(make, state, student, optimizer).whole(*blobs()[1]) == wanted


def test_active_units_and_the_moment_are_restored(blobs, network):
    x, y = blobs()[0]
    run, active = Run(built("der++"), network()), ClassSet({0: frozenset({0, 1, 2, 3})})
    run.engine.begin([0, 1], active=active)
    run.steps(x, y, stop=2)
    state, student, optimizer = saved(run)
    other = run.taken_up(built("der++"), state, student, optimizer)
    assert other.engine.moment.state_dict() == run.engine.moment.state_dict()
    assert other.engine.moment.iteration == 2
    assert other.steps(x, y, start=2) == run.steps(x, y, start=2)
    assert other.engine.objective.memory.rows.logits[:, 4:].isnan().all()


class Growing(nn.Module):
    """A head that grows by two units with each experience."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.body, self.head = nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.body(x).relu())

    def grow(self):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.head.out_features)
            wider = nn.Linear(8, self.head.out_features + 2)
        with torch.no_grad():
            wider.weight[:-2], wider.bias[:-2] = self.head.weight, self.head.bias
        self.head = wider


@pytest.mark.parametrize("name", NAMES)
def test_also_where_the_head_grows(name, blobs):
    """Teachers with a narrower head than the student are restored in a copy of the student."""
    experiences = blobs()
    run = Run(built(name), Growing())
    run.optimizer = torch.optim.SGD(run.student.parameters(), lr=0.1)
    run.whole(*experiences[0])
    run.student.grow()
    run.optimizer = torch.optim.SGD(run.student.parameters(), lr=0.1)
    run.begin(*experiences[1])
    run.steps(*experiences[1], stop=2)
    state, student, optimizer = saved(run)

    def go_on(run):
        found = run.steps(*experiences[1], start=2)
        run.engine.end(experiences[1])
        run.student.grow()
        run.optimizer = torch.optim.SGD(run.student.parameters(), lr=0.1)
        return [*found, *run.whole(*experiences[2])]

    wanted = go_on(run)
    for _ in range(2):
        other = Run(built(name), copy.deepcopy(student))
        other.optimizer = torch.optim.SGD(other.student.parameters(), lr=0.1)
        other.optimizer.load_state_dict(optimizer)
        other.engine.load_state_dict(state, other.student)
        assert go_on(other) == wanted


def test_a_state_before_the_first_step_can_be_taken_up_too(blobs, network):
    run = Run(built("mean-er"), network())
    state, student, optimizer = saved(run)
    wanted = run.whole(*blobs()[0])
    other = run.taken_up(built("mean-er"), state, student, optimizer)
    assert other.whole(*blobs()[0]) == wanted


def test_after_loading_another_student_is_refused(blobs, network):
    run = Run(built("er"), network())
    run.whole(*blobs()[0])
    other = run.taken_up(built("er"), *saved(run))
    other.begin(*blobs()[1])
    with pytest.raises(ConfigError, match="Build a new one for each run"):
        other.engine.loss(network(), *blobs()[1])


@pytest.mark.parametrize("name", ["der++", "ser", "tether"])
def test_it_is_the_state_of_its_student_where_batches_and_dropout_are_random(name, blobs, network):
    """With batch statistics and dropout, under the same global random numbers."""
    run, experiences = Run(built(name), network(batchnorm=True)), blobs()
    for data in experiences[:2]:
        run.whole(*data)
    state, student, optimizer = saved(run)
    random = torch.get_rng_state()
    wanted = run.whole(*experiences[2])
    other = run.taken_up(built(name), state, student, optimizer)
    torch.set_rng_state(random)
    assert other.whole(*experiences[2]) == wanted
