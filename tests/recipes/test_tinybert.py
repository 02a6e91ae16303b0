"""TinyBERT against its equations written out, and what it refuses."""

import pytest
import torch
from torch.nn import functional as F

from ckd import Engine, recipes
from ckd.errors import ConfigError, UnknownNameError
from ckd.networks import TextTransformer
from ckd.outputs import collect, tap

IDS = torch.tensor([[5, 9, 2, 0, 0], [7, 7, 1, 3, 4], [8, 2, 0, 0, 0]])
LABELS = torch.tensor([0, 1, 2])


def transformer(layers, width, heads=4, seed=0):
    torch.manual_seed(seed)
    return TextTransformer(10, 5, 3, width=width, layers=layers, heads=heads, dropout=0.0)


@pytest.fixture
def pair():
    return transformer(2, 8), transformer(6, 16, seed=1)


def started(objective):
    engine = Engine(objective)
    engine.begin(range(3))
    return engine


def squares(one, other, counted):
    """The mean of the squared differences where `counted`, of each sample, and of these."""
    return torch.stack([(a - b)[mask].square().mean() for a, b, mask in zip(one, other, counted, strict=True)]).mean()


def test_the_layers_are_equations_7_to_9(pair):
    small, large = pair
    objective = recipes.tinybert(large, student_layers=2, stage="layers")
    found = started(objective).loss(small, IDS, LABELS).parts
    real = IDS != 0
    paths = ["embeddings", "blocks.{}", "blocks.{}.attention.scores"]
    wanted = [("embeddings", "embeddings")] + [
        (path.format(ours), path.format(theirs)) for ours, theirs in ((0, 2), (1, 5)) for path in paths[1:]
    ]
    names = ["embeddings", "hidden 0 as 2", "attention 0 as 2", "hidden 1 as 5", "attention 1 as 5"]
    assert list(found) == ["criterion", *names]
    for term, (ours, theirs) in zip(objective.terms, wanted, strict=True):
        mine = collect(small, IDS, None, [tap(ours)])[tap(ours)]
        teachers = collect(large, IDS, None, [tap(theirs)])[tap(theirs)]
        if "attention" in ours:
            value = squares(mine, teachers, (real[:, :, None] & real[:, None])[:, None].expand_as(mine))
        else:
            weight, bias = term.adaptor._module.parameters()
            value = squares(mine @ weight.T + bias, teachers, real[..., None].expand_as(teachers))
        torch.testing.assert_close(found[term.name], value)
    assert found["criterion"] == 0


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_prediction_is_equation_10(pair, temperature):
    small, large = pair
    objective = recipes.tinybert(large, student_layers=2, stage="prediction", temperature=temperature)
    loss = started(objective).loss(small, IDS, LABELS)
    soft = (large(IDS) / temperature).softmax(1)
    wanted = temperature**2 * F.cross_entropy(small(IDS) / temperature, soft)
    torch.testing.assert_close(loss.total, wanted)


def test_labels_may_be_added(pair):
    small, large = pair
    loss = started(recipes.tinybert(large, student_layers=2, stage="prediction", label_weight=0.5)).loss(
        small, IDS, LABELS
    )
    torch.testing.assert_close(loss.parts["criterion"], 0.5 * F.cross_entropy(small(IDS), LABELS))


@pytest.mark.parametrize(
    ("layers", "pairs"),
    [(1, ["0 as 5"]), (3, ["0 as 1", "1 as 3", "2 as 5"]), (6, [f"{i} as {i}" for i in range(6)])],
)
def test_layers_are_paired_uniformly(pair, layers, pairs):
    terms = recipes.tinybert(pair[1], student_layers=layers, stage="layers").terms
    assert [term.name for term in terms[1::2]] == [f"hidden {one}" for one in pairs]


def learn(engine, small, n=30):
    optimizer = torch.optim.Adam(small.parameters(), lr=0.01)
    totals = []
    for _ in range(n):
        optimizer.zero_grad()
        loss = engine.loss(small, IDS, LABELS)
        loss.backward()
        optimizer.step()
        engine.after_update(optimizer)
        totals.append(float(loss))
    return totals


def test_one_stage_after_the_other_trains_a_student_and_not_the_teacher(pair):
    small, large = pair
    before = {name: value.clone() for name, value in large.state_dict().items()}
    for stage, share in (("layers", 0.5), ("prediction", 1.0)):
        totals = learn(started(recipes.tinybert(large, student_layers=2, stage=stage)), small)
        assert totals[-1] < share * totals[0]
    torch.testing.assert_close(small(IDS).softmax(1), large(IDS).softmax(1), atol=0.05, rtol=0)
    assert all(torch.equal(value, before[name]) for name, value in large.state_dict().items())


def test_heads_are_mapped_where_that_is_asked_for(pair):
    fewer, large = transformer(2, 8, heads=2), pair[1]
    with pytest.raises(ConfigError, match="adaptor"):
        started(recipes.tinybert(large, student_layers=2, stage="layers")).loss(fewer, IDS, LABELS)
    engine = started(recipes.tinybert(large, student_layers=2, stage="layers", map_heads=True))
    totals = learn(engine, fewer)
    assert totals[-1] < 0.5 * totals[0]


def test_what_cannot_work_is_refused(pair):
    _, large = pair
    with pytest.raises(ConfigError, match="a network"):
        recipes.tinybert("bert", student_layers=2, stage="layers")
    with pytest.raises(ConfigError, match="layers, prediction"):
        recipes.tinybert(large, student_layers=2, stage="logits")
    for layers in (0, 4, 7):
        with pytest.raises(ConfigError, match="a divisor of the teacher's 6 layers"):
            recipes.tinybert(large, student_layers=layers, stage="layers")
    with pytest.raises(ConfigError, match="a divisor of the teacher's 0 layers"):
        recipes.tinybert(large, student_layers=2, stage="layers", hidden="layers.{}")
    with pytest.raises(UnknownNameError, match="'embedding'"):
        recipes.tinybert(large, student_layers=2, stage="layers", embeddings="embedding")
    with pytest.raises(UnknownNameError, match=r"'blocks\.2\.scores'"):
        recipes.tinybert(large, student_layers=2, stage="layers", attention="blocks.{}.scores")
    with pytest.raises(UnknownNameError, match=r"'blocks\.1"):
        started(recipes.tinybert(large, student_layers=2, stage="layers")).loss(transformer(1, 8), IDS, LABELS)
