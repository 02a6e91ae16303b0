"""A discriminant beside the head: against one of all data at once, in the engine, and refusals."""

import copy

import numpy as np
import pytest
import torch
from shared import assert_plain, classes_in, learn_experience, storages
from torch import nn

from ckd import Engine, recipes
from ckd.errors import ConfigError
from ckd.heads import LinearDiscriminant, NearestMean
from ckd.heads.class_gaussians import Sums
from ckd.memory import Rows
from ckd.part import Ending, EvaluationModel
from ckd.teachers import Ema

CENTRES = 2 * np.eye(6)


def samples(labels, n=90, seed=0):
    """Features (n, 6) around a centre for each class; every label occurs."""
    rng = np.random.default_rng(seed)
    targets = rng.permutation(np.resize(labels, n))
    return torch.tensor(rng.standard_normal((n, 6)) + CENTRES[targets]), torch.tensor(targets)


def rows(x, y):
    zeros = torch.zeros(len(y), dtype=torch.long)
    return Rows(x, y, zeros, zeros)


def network(width=6, bias=True, seed=0):
    """A body that is a linear layer, and a head."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 6), nn.Linear(6, width, bias=bias)).double()


def end(part, model, experiences, data, memory=None, per_task=False, head="1"):
    """The last of these experiences ends, with its data and what is in memory; then its snapshot is taken."""
    ending = Ending(
        model,
        classes_in(*experiences, per_task=per_task),
        data=lambda: iter([rows(*data).take(some) for some in torch.arange(len(data[1])).split(40)]),
        stored=lambda: None if memory is None else rows(*memory),
        head=head,
    )
    part.begin(model, ending.classes)
    part.end(ending)
    part.past.end(ending)
    return part


def added(model, part):
    """What the discriminant adds to half of the head's logits, as logits (B, C) of inputs."""
    return lambda x: part.evaluation_model(model)(x) - model(x) / 2


def discriminant(x, y, n_classes):
    """Half of the logits of one fitted to all at once."""
    sums = Sums()
    sums.add(x, y)
    assert len(sums.counts) == n_classes
    weight, bias, _ = sums.gaussians().discriminant(0.05)
    return lambda shown: (shown @ weight.T + bias) / 2


def test_it_predicts_with_the_mean_of_the_heads_logits_and_the_discriminants():
    model, (x, y) = network(), samples(range(6))
    part = end(LinearDiscriminant(), model, [range(6)], (x, y))
    with torch.no_grad():
        wanted = discriminant(model[0](x), y, 6)(model[0](x))
        torch.testing.assert_close(added(model, part)(x), wanted)
        predicts = part.evaluation_model(model)
    assert [name for name, _ in predicts.named_parameters()] == [name for name, _ in model.named_parameters()]
    assert torch.equal(predicts[0].weight, model[0].weight)
    assert not storages(predicts.state_dict()) & storages(model.state_dict())


def test_of_a_network_that_does_not_change_it_is_the_one_of_all_data_at_once():
    model, part, pieces = (
        network(),
        LinearDiscriminant(),
        [samples(c, 40, seed=i) for i, c in enumerate(([0, 1], [2, 3], [4, 5]))],
    )
    for i, piece in enumerate(pieces):
        end(part, model, [[0, 1], [2, 3], [4, 5]][: i + 1], piece)
    x, y = map(torch.cat, zip(*pieces, strict=True))
    with torch.no_grad():
        torch.testing.assert_close(
            added(model, part)(x), discriminant(model[0](x), y, 6)(model[0](x)), atol=1e-6, rtol=1e-6
        )


def test_it_follows_a_network_that_changes_by_a_linear_map():
    before, after, part = network(), network(seed=1), LinearDiscriminant(ridge=1e-9)
    (old, new), memory = (
        (samples(c, 60, seed=i) for i, c in enumerate(([0, 1], [2, 3, 4, 5]))),
        samples([0, 1], 8, seed=3),
    )
    end(part, before, [[0, 1]], old)
    end(part, after, [[0, 1], [2, 3, 4, 5]], new, memory)
    x, y = map(torch.cat, zip(old, new, strict=True))
    with torch.no_grad():
        torch.testing.assert_close(
            added(after, part)(x), discriminant(after[0](x), y, 6)(after[0](x)), atol=1e-5, rtol=1e-5
        )


def test_memory_says_where_features_went_that_the_stream_does_not_show():
    class Body(nn.Module):
        """Moves features beyond 10 alone, as only the old class has them."""

        def __init__(self, moved):
            super().__init__()
            self.moved = moved
            self.weight = nn.Parameter(torch.zeros(()))

        def forward(self, x):
            return torch.where(x > 10, x + self.moved, x)

    models = [nn.Sequential(Body(moved), nn.Linear(6, 3)).double() for moved in (0.0, 30.0)]
    (old, y), new = samples([0], 60), samples([1, 2], 60, seed=1)
    old = old + 20
    missed = {}
    for told in (False, True):
        part = end(LinearDiscriminant(), models[0], [[0]], (old, y))
        end(part, models[1], [[0], [1, 2]], new, (old[:10], y[:10]) if told else None)
        missed[told] = float((part.known.means[0] - (old + 30).mean(0)).norm())
    assert missed[True] < 0.1 * missed[False]


def test_what_memory_holds_of_the_current_classes_counts_once():
    model, changed, (x, y), new = network(), network(seed=1), samples([0, 1]), samples([2, 3], seed=1)
    alone, beside = LinearDiscriminant(), LinearDiscriminant()
    for part, memory in ((alone, None), (beside, (new[0][:20], new[1][:20]))):
        end(part, model, [[0, 1]], (x, y))
        end(part, changed, [[0, 1], [2, 3]], new, memory)
    assert torch.equal(alone.known.means, beside.known.means)


def test_classes_that_come_again_are_averaged_by_their_samples():
    model, part, (x, y), (again, labels) = network(), LinearDiscriminant(), samples([0, 1]), samples([1, 2], 30, seed=1)
    end(part, model, [[0, 1]], (x, y))
    end(part, model, [[0, 1], [1, 2]], (again, labels))
    with torch.no_grad():
        both = model[0](torch.cat([x[y == 1], again[labels == 1]]))
    torch.testing.assert_close(part.known.means[1], both.mean(0), atol=1e-8, rtol=1e-8)
    assert part.known.counts.tolist() == [45, 60, 15]


@pytest.mark.parametrize("bias", [True, False])
def test_classes_that_have_not_come_are_never_predicted(bias):
    model, (x, y) = network(width=8, bias=bias), samples([1, 4])
    found = end(LinearDiscriminant(), model, [[1, 4]], (x, y)).evaluation_model(model)(x)
    assert (found[:, [0, 2, 3, 5, 6, 7]] == -1000).all()
    assert (found.argmax(1) == y).float().mean() > 0.9


def test_before_an_experience_ends_what_it_builds_on_predicts():
    model, part = network(), LinearDiscriminant()
    assert isinstance(part, EvaluationModel)
    assert part.evaluation_model(model) is model
    assert part.nbytes() == {}
    part = end(part, model, [range(6)], samples(range(6)))
    assert part.nbytes() == {"heads": 8 * (6 + 6 * 6 + 6 * 6)}


# in the engine -----------------------------------------------------------------------------------------------------


def learnt_on(engine, student, experience):
    """Twenty steps on all of an experience."""
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    learn_experience(engine, student, *experience, [experience] * 20, optimizer)


def learnt(objective, experiences, student):
    engine = Engine(objective)
    for experience in experiences:
        learnt_on(engine, student, experience)
    return engine


@pytest.mark.parametrize("before", [[], [Ema(0.9)]], ids=["student", "average"])
@pytest.mark.parametrize(
    "others", [{}, {"slow": Ema(0.999)}, {"means": [Ema(0.5), NearestMean()]}], ids=["alone", "slow", "means"]
)
def test_in_a_run_its_past_is_of_what_it_builds_on(blobs, network, before, others):
    chains = copy.deepcopy({**others, "both": [*before, LinearDiscriminant()]})
    objective, student = recipes.er(memory_size=20).extend(evaluation=chains), network()
    engine = learnt(objective, blobs(), student)
    *first, part = objective.chain("both")
    base = first[0].model.module if first else student
    predicts = engine.evaluation_model(student, "both")
    assert torch.equal(part.past.model.module[0].weight, base[0].weight)
    assert torch.equal(part.past.model.module[-1].weight, base[-1].weight)
    assert torch.equal(predicts[0].weight, base[0].weight)
    assert not torch.equal(predicts[-1].weight, base[-1].weight)


def test_within_an_experience_ballast_knows_the_classes_that_it_learns(blobs, network):
    experiences, student = blobs(), network()
    engine = learnt(recipes.ballast(memory_size=20), experiences[:1], student)
    x, y = experiences[1]
    engine.begin(y.unique().tolist())
    engine.loss(student, x, y).backward()
    assert torch.equal(engine.evaluation_model(student)(x), engine.evaluation_model(student, "average")(x))


def test_saved_within_an_experience_it_goes_on_the_same(blobs, network):
    experiences, student, other = blobs(), network(), network()
    engine = learnt(recipes.ballast(memory_size=20), experiences[:2], student)
    twin = Engine(recipes.ballast(memory_size=20))
    twin.load_state_dict(engine.state_dict(), other)
    other.load_state_dict(student.state_dict())
    x = experiences[0][0]
    assert torch.equal(engine.evaluation_model(student)(x), twin.evaluation_model(other)(x))
    for one, net in ((engine, student), (twin, other)):
        learnt_on(one, net, experiences[2])
    assert torch.equal(engine.evaluation_model(student)(x), twin.evaluation_model(other)(x))


def test_ballast_keeps_one_snapshot_which_teaches_what_the_average_says(blobs, network):
    objective, student = recipes.ballast(memory_size=20), network()
    snapshot, (average, part) = objective.teachers["snapshot"], objective.chain()
    assert part.past is snapshot
    learnt(objective, blobs(), student)
    assert torch.equal(snapshot.model.module[-1].weight, average.model.module[-1].weight)
    x = blobs()[0][0]
    assert torch.equal(objective.evaluation_model(student, "average")(x), average.evaluation_model(student)(x))


def test_without_a_snapshot_of_the_average_ballasts_discriminant_has_its_own(blobs, network):
    objective = recipes.ballast(memory_size=20, snapshot_of_average=0)
    learnt(objective, blobs(), network())
    part = objective.chain()[1]
    assert part.past is not objective.teachers["snapshot"]
    assert torch.equal(part.past.model.module[0].weight, objective.chain()[0].model.module[0].weight)
    assert len(recipes.ballast(memory_size=20, discriminant=0).chain()) == 1


def test_it_is_better_than_the_head_alone_where_old_classes_were_forgotten(blobs, network):
    objective, student = recipes.naive().extend(evaluation={"both": LinearDiscriminant()}), network()
    engine = learnt(objective, blobs(), student)
    x, y = map(torch.cat, zip(*blobs(), strict=True))
    right = {
        name: (engine.evaluation_model(student, name)(x).argmax(1) == y).float().mean() for name in ("both", "student")
    }
    assert right["both"] > right["student"] + 0.1


def test_while_an_experience_runs_the_head_alone_predicts():
    model, part = network(), LinearDiscriminant()
    end(part, model, [[0, 1]], samples([0, 1]))
    assert part.evaluation_model(model) is not model
    part.begin(model, classes_in([0, 1], [2, 3]))
    assert part.evaluation_model(model) is model


def test_after_an_experience_without_new_classes_the_head_alone_predicts_until_there_are_some():
    model, part = network(), LinearDiscriminant()
    end(part, model, [[0, 1]], samples([0, 1]))
    before = part.known
    end(part, model, [[0, 1], [0, 1]], samples([0, 1], seed=1))
    assert part.evaluation_model(model) is model
    torch.testing.assert_close(part.known.means, before.means, rtol=1e-9, atol=1e-9)
    end(part, model, [[0, 1], [0, 1], [2, 3]], samples([2, 3]))
    assert part.evaluation_model(model) is not model
    torch.testing.assert_close(part.known.means[:2], before.means, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("experiences", "data"),
    [
        ([{0: [0, 1]}], samples([0, 1])),
        ([[0, 1], [2, 3]], samples([2, 3])),
        ([[0, 1, 2]], samples([0, 1])),
        ([[0, 1]], (samples([0, 1])[0][:0], samples([0, 1])[1][:0])),
    ],
    ids=["a head for each task", "begun late", "a class without data", "no data"],
)
def test_where_there_are_no_means_the_head_alone_predicts(experiences, data):
    model, part = network(), LinearDiscriminant()
    end(part, model, experiences, data, per_task=isinstance(experiences[0], dict))
    assert part.evaluation_model(model) is model
    assert part.nbytes() == {}


class Cosine(nn.Linear):
    """A linear layer that says something else than its weights."""

    def forward(self, x):
        return nn.functional.normalize(x, dim=1) @ nn.functional.normalize(self.weight, dim=1).T


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize(
    "head",
    [
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 6)),
        lambda: nn.utils.weight_norm(nn.Linear(6, 6)),
        lambda: Cosine(6, 6),
        lambda: nn.Sequential(nn.Linear(6, 6), nn.Tanh(), Cosine(6, 6)),
        lambda: nn.Sequential(nn.Linear(6, 6), nn.Tanh()),
    ],
    ids=["weight norm", "old weight norm", "another forward", "hidden layer as wide", "changed afterwards"],
)
@pytest.mark.parametrize("named", [True, False])
def test_a_head_that_is_not_plainly_linear_predicts_alone(head, named):
    model, part = nn.Sequential(nn.Linear(6, 6), head()).double(), LinearDiscriminant()
    end(part, model, [range(6)], samples(range(6)), head="1" if named else None)
    assert part.evaluation_model(model) is model


@pytest.mark.parametrize("head", ["", None])
def test_a_model_may_be_its_own_head(head):
    (x, y), model = samples(range(6)), nn.Linear(6, 6).double()
    part = end(LinearDiscriminant(), model, [range(6)], (x, y), head=head)
    torch.testing.assert_close(added(model, part)(x), discriminant(x, y, 6)(x))


def test_a_head_in_a_module_that_is_named_is_found():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.classifier = nn.Linear(6, 6)

        def forward(self, x):
            return self.classifier(x)

    model, part = nn.Sequential(nn.Linear(6, 6), Wrapped()).double(), LinearDiscriminant()
    end(part, model, [range(6)], samples(range(6)), head="1")
    assert not torch.equal(part.evaluation_model(model)[1].classifier.weight, model[1].classifier.weight)


def test_more_features_than_it_can_bear_are_left_alone(monkeypatch):
    monkeypatch.setattr("ckd.heads.linear_discriminant.MAX_FEATURES", 5)
    model, part = network(), LinearDiscriminant()
    end(part, model, [range(6)], samples(range(6)))
    assert part.evaluation_model(model) is model


def test_labels_of_any_integer_type_and_one_that_begin_was_not_told():
    model, (x, y) = network(), samples(range(6))
    wanted, part = end(LinearDiscriminant(), model, [range(6)], (x, y)), LinearDiscriminant()
    end(part, model, [range(6)], (x, y.to(torch.uint8)))
    assert torch.equal(part.known.means, wanted.known.means)
    end(part := LinearDiscriminant(), model, [[0, 1]], (x, y))
    assert (part.evaluation_model(model)(x).argmax(1) == y).float().mean() > 0.5


@pytest.mark.parametrize("asks", [True, False])
def test_its_head_asks_for_gradients_as_the_one_before(asks):
    model = network().requires_grad_(asks)
    found = end(LinearDiscriminant(), model, [range(6)], samples(range(6))).evaluation_model(model)
    assert {p.requires_grad for p in found.parameters()} == {asks}


def test_where_no_linear_head_is_found_the_model_predicts():
    class Cosine(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(6, 6).double())

        def forward(self, x):
            return x @ self.weight

    model, part = Cosine(), LinearDiscriminant()
    end(part, model, [range(6)], samples(range(6)), head=None)
    assert part.evaluation_model(model) is model


def test_a_head_that_is_not_named_is_found():
    model, part = network(), LinearDiscriminant()
    end(part, model, [range(6)], samples(range(6)), head=None)
    named = end(LinearDiscriminant(), model, [range(6)], samples(range(6)))
    x = samples(range(6), 5, seed=1)[0]
    assert torch.equal(part.evaluation_model(model)(x), named.evaluation_model(model)(x))


def test_in_an_online_stream_what_is_remembered_stands_for_the_experience():
    first, second = network(), network(seed=1)
    data = [samples([0, 1, 2], 60), samples([3, 4, 5], 90, seed=2)]
    stored = [samples([0, 1, 2], 30, seed=3), samples(range(6), 48, seed=4)]
    of_second = stored[1][1] > 2
    online, whole = LinearDiscriminant(), LinearDiscriminant()
    online.in_pieces()
    assert not online.needs_data
    assert LinearDiscriminant.needs_data
    end(online, first, [[0, 1, 2]], data[0], stored[0])
    end(online, second, [[0, 1, 2], [3, 4, 5]], data[1], stored[1])
    end(whole, first, [[0, 1, 2]], stored[0])
    end(whole, second, [[0, 1, 2], [3, 4, 5]], [some[of_second] for some in stored[1]], stored[1])
    x = samples(range(6), 12, seed=5)[0]
    assert online.evaluation_model(second) is not second
    assert torch.equal(online.evaluation_model(second)(x), whole.evaluation_model(second)(x))


@pytest.mark.parametrize("data", [samples(range(6), 6), (torch.ones(12, 6).double(), torch.arange(6).repeat(2))])
def test_without_samples_of_a_class_that_differ_the_head_alone_predicts(data):
    model = network()
    part = end(LinearDiscriminant(), model, [range(6)], data)
    assert part.evaluation_model(model) is model


@pytest.mark.parametrize("stored", [None, samples([0, 1, 2, 3, 4], 30)])
def test_in_an_online_stream_without_all_classes_in_memory_the_head_alone_predicts(stored):
    model, part = network(), LinearDiscriminant()
    part.in_pieces()
    end(part, model, [range(6)], samples(range(6)), stored)
    assert part.evaluation_model(model) is model


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"ridge": 0.0}, "ridge of the discriminant: expected a finite number above 0; received 0.0"),
        ({"shrinkage": float("inf")}, "shrinkage of the discriminant: expected a finite number above 0; received inf"),
        ({"ridge": -1}, "ridge of the discriminant: expected a finite number above 0; received -1"),
        ({"ridge": "a"}, "ridge of the discriminant: expected a finite number above 0; received 'a'"),
        ({"shrinkage": None}, "shrinkage of the discriminant: expected a finite number above 0; received None"),
    ],
)
def test_what_it_cannot_work_with_is_refused(how, message):
    with pytest.raises(ConfigError) as caught:
        LinearDiscriminant(**how)
    assert message in str(caught.value)


# state -------------------------------------------------------------------------------------------------------------


def test_restored_it_predicts_the_same_and_its_state_is_a_plain_copy():
    model, (x, y) = network(), samples(range(6))
    part, twin = end(LinearDiscriminant(), model, [range(6)], (x, y)), LinearDiscriminant()
    state = part.state_dict()
    assert_plain(state)
    assert not storages(state) & storages(vars(part.known))
    twin.load_state_dict(copy.deepcopy(state), model)
    assert torch.equal(part.evaluation_model(model)(x), twin.evaluation_model(model)(x))
    twin.load_state_dict(LinearDiscriminant().state_dict(), model)
    assert twin.evaluation_model(model) is model
