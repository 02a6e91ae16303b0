"""What predicts at evaluation in the student's place: one network, several on top of each other, several by name."""

import copy

import pytest
import torch
from shared import learn_experience
from torch import nn
from torch.nn import functional as F

from ckd import Ema, Engine, Memory, Objective, Snapshot, Term, recipes
from ckd.errors import ConfigError
from ckd.heads import BiasCorrection, NearestMean
from ckd.heads.bias_correction import Corrected
from ckd.losses import cross_entropy, kd
from ckd.objective import replay, teacher
from ckd.part import EvaluationModel, Part
from ckd.teachers.teacher import Frozen


def learn(objective, experiences, student, n=None):
    """A plain loop over the first `n` experiences; returns the engine."""
    engine, optimizer = Engine(objective), torch.optim.SGD(student.parameters(), lr=0.1)
    for x, y in experiences[:n]:
        learn_experience(engine, student, x, y, zip(x.split(8), y.split(8), strict=True), optimizer)
    return engine


def replayed(evaluation, **more):
    terms = [Term("replay", replay("a"), loss=cross_entropy)]
    return Objective("x", terms, memory=Memory(30), evaluation=evaluation, **more)


def means_by_hand(model, memory, x):
    """Negative squared distances from normalised features to normalised class means, one at a time."""
    body, rows = nn.Sequential(*list(model)[:-1]), memory.rows
    with torch.no_grad():
        remembered, asked = F.normalize(body(rows.raw), dim=1), F.normalize(body(x), dim=1)
    found = torch.full((len(x), 6), -1000.0)
    for c in set(rows.targets.tolist()):
        mean = F.normalize(remembered[rows.targets == c].mean(0), dim=0)
        found[:, c] = -(asked - mean).square().sum(1)
    return found


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("n", [1, 3])
def test_nearest_means_alone_and_on_an_average(averaged, n, blobs, network):
    """The means are of the average's features, and so is what they are compared with."""
    ema, means = Ema(0.9), NearestMean()
    student, x = network(), blobs()[0][0]
    engine = learn(replayed([ema, means] if averaged else means), blobs(), student, n)
    base = ema.model.module if averaged else student
    wanted = means_by_hand(base, engine.objective.memory, x)
    with torch.no_grad():
        found = engine.evaluation_model(student)(x)
    assert torch.allclose(found, wanted, atol=1e-5)
    assert (found > -999).sum(1).unique().tolist() == [2 * n]
    if averaged:
        assert not torch.allclose(found, means_by_hand(student, engine.objective.memory, x), atol=1e-3)


@pytest.mark.parametrize("averaged", [False, True])
def test_a_bias_is_corrected_on_an_average_too(averaged, blobs, network):
    """The two numbers minimise the cross entropy of the average's logits, as a search finds them."""
    ema, correction = Ema(0.9), BiasCorrection()
    student, x = network(), blobs()[0][0]
    engine = learn(replayed([ema, correction] if averaged else [correction]), blobs(), student, 2)
    base = ema.model.module if averaged else student
    rows = engine.objective.memory.rows
    with torch.no_grad():
        logits = base(rows.raw)[:, :4].double()
        found = engine.evaluation_model(student)(x)
        plain = base(x)

    def loss(scale, shift):
        z = torch.cat([logits[:, :2], scale * logits[:, 2:] + shift], 1)
        return (F.cross_entropy(z, rows.targets) + 1e-3 * ((scale - 1) ** 2 + shift**2)).item()

    scale, shift = correction.scale[2].item(), correction.shift[2].item()
    best = loss(scale, shift)
    assert all(best <= loss(scale + a, shift + b) + 1e-9 for a in (-0.01, 0, 0.01) for b in (-0.01, 0, 0.01))
    assert best < loss(1.0, 0.0)
    wanted = torch.cat([plain[:, :2], scale * plain[:, 2:4] + shift, plain[:, 4:]], 1)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_before_there_is_anything_to_evaluate_with_the_student_predicts(network):
    engine, student = Engine(replayed([Ema(0.9), NearestMean()])), network()
    assert engine.evaluation_model(student) is student


def test_several_are_compared_in_one_run_by_name(blobs, network):
    ema, means = Ema(0.9), NearestMean()
    chains = {"average": ema, "means": NearestMean(), "means of the average": [ema, means]}
    student, x = network(), blobs()[0][0]
    engine = learn(replayed(chains), blobs(), student, 2)
    with torch.no_grad():
        found = {name: engine.evaluation_model(student, name)(x) for name in chains}
        assert torch.equal(engine.evaluation_model(student)(x), found["average"])
        assert torch.equal(found["average"], ema.model.module(x))
    memory = engine.objective.memory
    assert torch.allclose(found["means"], means_by_hand(student, memory, x), atol=1e-5)
    assert torch.allclose(found["means of the average"], means_by_hand(ema.model.module, memory, x), atol=1e-5)
    assert engine.evaluation_model(student, "student") is student
    names = ["memory", "evaluation average 0", "evaluation means 0", "evaluation means of the average 1"]
    assert list(engine.objective.parts) == names
    with pytest.raises(ConfigError, match="expected student, average, means, means of the average; received 'mean'"):
        engine.evaluation_model(student, "mean")


def test_an_evaluation_model_does_not_change_what_is_learnt(blobs, network):
    ends = []
    for evaluation in (None, Ema(0.9), [Ema(0.9), NearestMean()], {"a": BiasCorrection(), "b": NearestMean()}):
        student = network()
        learn(replayed(evaluation), blobs(), student)
        ends.append([p.detach() for p in student.parameters()])
    assert all(torch.equal(a, b) for end in ends[1:] for a, b in zip(end, ends[0], strict=True))


def test_what_is_no_part_is_refused():
    class Doubled:
        def evaluation_model(self, model):
            return model

    class Idle(Part):
        pass

    for wrong in (Doubled(), Idle(), nn.Linear(2, 2), [Ema(0.9), Doubled()], {"a": Ema(0.9), "b": Doubled()}):
        with pytest.raises(ConfigError, match="a Part with a method evaluation_model"):
            Objective("x", evaluation=wrong)


class Louder(Part):
    """A user's own: doubles the logits after so many experiences."""

    def __init__(self):
        self.ended = 0

    def evaluation_model(self, model):
        return nn.Sequential(model, Scaled(1 + self.ended))

    def end(self, ending):
        self.ended += 1
        self.model = ending.model


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


def test_one_of_a_users_own_in_a_chain_sees_what_it_builds_on(blobs, network):
    ema, louder, student, x = Ema(0.9), Louder(), network(), blobs()[0][0]
    assert isinstance(louder, EvaluationModel)
    engine = learn(replayed([ema, louder]), blobs(), student, 2)
    assert torch.allclose(engine.evaluation_model(student)(x), 3 * ema.model.module(x), atol=1e-5)
    assert torch.allclose(louder.model(x), ema.model.module(x))


def test_a_snapshot_of_the_evaluation_model_is_of_the_whole_chain(blobs, network):
    ema, correction, snapshot = Ema(0.9), BiasCorrection(), Snapshot(of_evaluation_model=True)
    term = Term("kd", target=teacher("past"), loss=kd)
    objective = replayed([ema, correction]).extend(term, teachers={"past": snapshot})
    student, x = network(), blobs()[0][0]
    engine = learn(objective, blobs(), student, 2)
    assert isinstance(snapshot.model, Frozen)
    assert isinstance(snapshot.model.module, Corrected)
    assert torch.allclose(snapshot.model(x), engine.evaluation_model(student)(x), atol=1e-6)
    assert not torch.allclose(snapshot.model(x), student(x), atol=1e-3)


# an average for a recipe ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "own"), [("bic", BiasCorrection), ("icarl", NearestMean), ("der++", None)])
def test_a_recipe_can_evaluate_with_an_average_on_which_its_own_model_builds(name, own, blobs, network):
    objective = recipes.get(name).build(memory_size=20).with_average(0.8)
    (chain,) = objective.evaluation.values()
    assert [type(one) for one in chain] == [Ema, *([own] if own else [])]
    assert chain[0].decay == 0.8
    student, x = network(), blobs()[0][0]
    engine = learn(objective, blobs(), student, 2)
    average = copy.deepcopy(chain[0].model.module)
    for part in chain[1:]:
        average = part.evaluation_model(average)
    with torch.no_grad():
        assert torch.equal(engine.evaluation_model(student)(x), average(x))
    assert not torch.equal(chain[0].model.module[0].weight, student[0].weight)


def test_of_several_each_builds_on_one_and_the_same_average():
    objective = replayed({"means": NearestMean(), "bias": BiasCorrection()}).with_average(0.9)
    (one, means), (other, bias) = objective.evaluation.values()
    assert one is other
    assert isinstance(one, Ema)
    assert (type(means), type(bias)) == (NearestMean, BiasCorrection)


@pytest.mark.parametrize("name", ["mean-er", "cls-er", "tether"])
def test_an_average_on_an_average_is_refused(name):
    with pytest.raises(ConfigError, match="Leave --average"):
        recipes.get(name).build().with_average(0.9)


def test_a_recipe_without_its_own_average_may_have_another():
    objective = recipes.tether(decay=0.0).with_average(0.9)
    assert [type(one) for (one,) in objective.evaluation.values()] == [Ema]


def test_without_an_evaluation_model_there_is_the_student_alone():
    objective = Objective("plain")
    assert objective.chain() == objective.chain("student") == ()
    with pytest.raises(ConfigError, match="expected student; received 'average'"):
        objective.chain("average")
