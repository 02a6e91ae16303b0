"""Another network as teacher, in one line: the same as the terms written out, and as plain PyTorch."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ckd import Engine, Ensemble, Fixed, recipes
from ckd.errors import ConfigError, UnknownNameError
from ckd.losses import Standardised, attention, dkd, kd, relational_distance, similarity


def network(width, seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 4))


@pytest.fixture
def pair():
    return network(8, 0), network(20, 1)


def batches(n=5):
    g = torch.Generator().manual_seed(2)
    return [(torch.randn(16, 6, generator=g), torch.randint(4, (16,), generator=g)) for _ in range(n)]


def trained(engine, student):
    engine.begin(classes=range(4))
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    for x, y in batches():
        optimizer.zero_grad()
        engine.loss(student, x, y).backward()
        optimizer.step()
        engine.after_update(optimizer)
    return student


def test_it_trains_as_plain_pytorch_does(pair):
    student, large = pair
    other = network(8, 0)
    trained(Engine(recipes.distilled(large)), student)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    for x, y in batches():
        with torch.no_grad():
            soft = large(x)
        logits = other(x)
        divergence = F.kl_div(
            F.log_softmax(logits / 4, 1), F.log_softmax(soft / 4, 1), reduction="batchmean", log_target=True
        )
        optimizer.zero_grad()
        (0.1 * F.cross_entropy(logits, y) + 0.9 * 16 * divergence).backward()
        optimizer.step()
    for a, b in zip(student.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("loss", [kd, dkd, partial(dkd, temperature=2.0), Standardised(kd)])
def test_any_loss_of_logits(pair, loss):
    student, large = pair
    engine = Engine(recipes.distilled(large, loss=loss, weight=2.0, label_weight=1.0))
    engine.begin(classes=range(4))
    (x, y), *_ = batches()
    found = engine.loss(student, x, y)
    labels = {} if loss is kd or isinstance(loss, Standardised) else {"labels": y}
    wanted = F.cross_entropy(student(x), y) + 2 * loss(student(x), large(x), **labels).mean()
    torch.testing.assert_close(found.total, wanted)


def test_layers_are_matched_through_a_map_that_learns(pair):
    student, large = pair
    engine = Engine(recipes.distilled(large, features={"1": "1"}, feature_weight=0.5, weight=0.0, label_weight=0.0))
    before = large[0].weight.clone()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05)
    engine.begin(classes=range(4))
    values = []
    x, y = batches()[0]
    for _ in range(60):
        optimizer.zero_grad()
        loss = engine.loss(student, x, y)
        loss.backward()
        optimizer.step()
        engine.after_update(optimizer)
        values.append(float(loss.parts["1 as 1"]))
    assert values[-1] < 0.5 * values[0]
    assert torch.equal(large[0].weight, before)


@pytest.mark.parametrize("loss", [relational_distance, similarity, partial(similarity)])
def test_relations_need_no_map(pair, loss):
    student, large = pair
    objective = recipes.distilled(large, features={"1": "1"}, feature_loss=loss)
    assert not objective.terms[1].adaptors
    trained(Engine(objective), student)


def test_attention_of_maps_of_other_depths():
    student = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(48, 4))
    large = nn.Sequential(nn.Conv2d(1, 9, 3), nn.Flatten(), nn.Linear(144, 4))
    engine = Engine(recipes.distilled(large, features={"0": "0"}, feature_loss=attention, feature_weight=1000.0))
    engine.begin(classes=range(4))
    x, y = torch.randn(5, 1, 6, 6), torch.randint(4, (5,))
    found = engine.loss(student, x, y).parts["0 as 0"]
    torch.testing.assert_close(found, 1000 * attention(student[0](x), large[0](x)).mean())


def test_an_ensemble_teaches(pair):
    student, large = pair
    engine = Engine(recipes.distilled(Ensemble([Fixed(large), Fixed(network(20, 5))])))
    trained(engine, student)


def test_wrong_layers_and_teachers_are_refused(pair):
    student, large = pair
    with pytest.raises(UnknownNameError, match="'layer1'"):
        recipes.distilled(large, features={"1": "layer1"})
    with pytest.raises(ConfigError, match="a network or a teacher"):
        recipes.distilled("resnet")
    engine = Engine(recipes.distilled(large, features={"l": "1"}))
    engine.begin(classes=range(4))
    with pytest.raises(UnknownNameError, match="'l'"):
        engine.loss(student, *batches()[0])


def test_the_teacher_is_frozen_and_in_eval_mode(pair):
    student, _ = pair
    large = nn.Sequential(nn.Linear(6, 20), nn.BatchNorm1d(20), nn.Dropout(), nn.Linear(20, 4))
    before = {name: value.clone() for name, value in large.state_dict().items()}
    trained(Engine(recipes.distilled(large)), student)
    assert not large.training
    assert not any(p.requires_grad for p in large.parameters())
    assert all(torch.equal(value, before[name]) for name, value in large.state_dict().items())
