"""Recipes with a trained teacher: one step of each against its formula, written out."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ckd import Engine, recipes
from ckd.errors import ConfigError
from ckd.losses import hierarchical_context
from ckd.recipes import RECIPES, pairs
from ckd.recipes.schedules import ramp

B, C = 12, 4


def network(width, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, C)).double()


@pytest.fixture
def student():
    return network(8, 0)


@pytest.fixture
def teacher():
    return network(20, 1)


@pytest.fixture
def batch():
    g = torch.Generator().manual_seed(2)
    return torch.randn(B, 6, generator=g, dtype=torch.float64), torch.randint(C, (B,), generator=g)


def loss_of(objective, student, batch):
    engine = Engine(objective)
    engine.begin(classes=range(C))
    return engine.loss(student, *batch).total


def divergence(p, q):
    return (p * (p.log() - q.log())).sum(1)


def pearson(a, b):
    a, b = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
    return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))


def kd(s, t, y):
    return 0.1 * F.cross_entropy(s, y) + 0.9 * 16 * divergence((t / 4).softmax(1), (s / 4).softmax(1)).mean()


def symmetric(s, t, y):
    p, q = (t / 4).softmax(1), (s / 4).softmax(1)
    return 0.1 * F.cross_entropy(s, y) + 0.45 * 16 * (divergence(p, q) + divergence(q, p)).mean()


def mse(s, t, y):
    s0, t0 = s - s.mean(1, keepdim=True), t - t.mean(1, keepdim=True)
    return 0.1 * F.cross_entropy(s, y) + 0.4 * ((s0 - t0) ** 2).mean()


def hinge(s, t, y):
    return 0.1 * F.cross_entropy(s, y) + 4 * (s - t).abs().mean()


def dkd(s, t, y):
    p, q = (t / 4).softmax(1), (s / 4).softmax(1)
    rows = torch.arange(B)
    targets = divergence(torch.stack([p[rows, y], 1 - p[rows, y]], 1), torch.stack([q[rows, y], 1 - q[rows, y]], 1))
    others = torch.ones(B, C, dtype=torch.bool).index_put((rows, y), torch.tensor(False))
    among = [divergence(*((z[i, others[i]] / z[i, others[i]].sum())[None] for z in (p, q))) for i in range(B)]
    return F.cross_entropy(s, y) + 16 * (targets.mean() + 8 * torch.cat(among).mean())


def dist(s, t, y):
    p, q = (s / 4).softmax(1), (t / 4).softmax(1)
    found = 2 * (1 - pearson(p, q)).mean() + 2 * (1 - pearson(p.T, q.T)).mean()
    return F.cross_entropy(s, y) + 0.5 * 16 * found


def standardised(s, t, y):
    s0, t0 = ((z - z.mean(1, keepdim=True)) / (z.std(1, keepdim=True) + 1e-7) for z in (s, t))
    return 0.1 * F.cross_entropy(s, y) + 9 * 4 * divergence((t0 / 2).softmax(1), (s0 / 2).softmax(1)).mean()


def born_again(s, t, y):
    return F.cross_entropy(s, y) + divergence(t.softmax(1), s.softmax(1)).mean()


OF_LOGITS = {
    "kd": kd,
    "symmetric-kl": symmetric,
    "logit-mse": mse,
    "hinge": hinge,
    "dkd": dkd,
    "dist": dist,
    "standardised-kd": standardised,
    "born-again": born_again,
    "mutual": born_again,
}


@pytest.mark.parametrize("name", OF_LOGITS)
def test_the_loss_is_the_papers(name, student, teacher, batch):
    found = loss_of(RECIPES[name].build(teacher), student, batch)
    torch.testing.assert_close(found, OF_LOGITS[name](student(batch[0]), teacher(batch[0]), batch[1]))


def similarity(s, t):
    return 150 * sum((F.normalize(s @ s.T) - F.normalize(t @ t.T)).pow(2).flatten()) / B**2


def relational(s, t):
    found = 0.0
    for x, weight in ((distances, 1.5), (angles, 3)):
        found = found + weight * F.smooth_l1_loss(x(s), x(t))
    return found


def distances(x):
    d = torch.stack([torch.stack([(a - b).norm() for b in x]) for a in x])
    return d / d[d > 0].mean()


def angles(x):
    def unit(v):
        return v / v.norm() if v.norm() > 0 else v

    return torch.stack([unit(x[j] - x[i]) @ unit(x[k] - x[i]) for i in range(B) for j in range(B) for k in range(B)])


@pytest.mark.parametrize(("name", "loss"), [("similarity", similarity), ("relational", relational)])
def test_relations_of_a_pair_of_layers(name, loss, student, teacher, batch):
    found = loss_of(RECIPES[name].build(teacher, layers="1=1"), student, batch)
    expected = F.cross_entropy(student(batch[0]), batch[1]) + loss(student[:2](batch[0]), teacher[:2](batch[0]))
    torch.testing.assert_close(found, expected)


def test_hints_go_through_a_map_that_is_learned(student, teacher, batch):
    engine = Engine(recipes.hint(teacher, layers={"1": "1"}, feature_weight=2.0))
    engine.begin(classes=range(C))
    engine.loss(student, *batch)
    assert engine.nbytes()["adaptors"] == 8 * (8 * 20 + 20)


def test_attention_compares_maps():
    x, y = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2])
    nets = [nn.Sequential(nn.Conv2d(1, w, 3), nn.Flatten(), nn.Linear(36 * w, C)) for w in (2, 5)]
    found = loss_of(recipes.attention(nets[1], layers="0=0"), nets[0], (x, y))
    maps = [F.normalize(net[0](x).pow(2).mean(1).flatten(1)) for net in nets]
    torch.testing.assert_close(found, F.cross_entropy(nets[0](x), y) + 50 * (maps[0] - maps[1]).pow(2).mean())


def test_review_fuses_the_layers_and_compares_them_with_the_teachers():
    nets = [nn.Sequential(nn.Conv2d(1, w, 3), nn.Conv2d(w, w, 3), nn.Flatten(), nn.Linear(16 * w, C)) for w in (2, 5)]
    x, y = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2])
    engine = Engine(recipes.review(nets[1], layers="0=0, 1=1", steps=50, warm_up=0.04))
    engine.begin(classes=range(C))
    weight, found = engine.loss(nets[0], x, y).values["review"]
    assert weight == 0.5
    theirs = nets[1][0](x), nets[1][1](nets[1][0](x))
    fused = engine.objective.terms[1].adaptor((nets[0][0](x), nets[0][1](nets[0][0](x))), theirs)
    assert [f.shape for f in fused] == [t.shape for t in theirs]
    torch.testing.assert_close(found, hierarchical_context(fused, theirs).mean())


def test_kd_beside_features_where_it_has_weight(student, teacher, batch):
    both = loss_of(recipes.similarity(teacher, layers="1=1", weight=0.9, label_weight=0.1), student, batch)
    alone = loss_of(recipes.similarity(teacher, layers="1=1", label_weight=0.0), student, batch)
    torch.testing.assert_close(both - alone, kd(student(batch[0]), teacher(batch[0]), batch[1]))


def test_dkds_weight_grows_over_the_first_steps(student, teacher, batch):
    engine = Engine(recipes.dkd(teacher, steps=100, warm_up=0.04))
    engine.begin(classes=range(C))
    weights = []
    for _ in range(6):
        weights.append(engine.loss(student, *batch).values["distillation"][0])
        engine.after_update()
    assert weights == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_a_ramp_without_steps_is_the_weight():
    assert ramp(3.0, 0) == 3.0


@pytest.mark.parametrize("layers", ["", "last stage", "1", "1=", "=1", "1=1,2", {}])
def test_layers_that_are_no_pairs_are_refused(layers, teacher):
    with pytest.raises(ConfigError, match="pairs of layers"):
        recipes.hint(teacher, layers=layers)


def test_pairs_of_layers_as_text():
    assert pairs(" layer1 = a.b , 3=5 ") == {"layer1": "a.b", "3": "5"}


@pytest.mark.parametrize("name", sorted(n for n, r in RECIPES.items() if r.teacher))
def test_a_teacher_is_the_one_thing_without_a_default(name):
    assert "teacher" not in RECIPES[name].defaults
    with pytest.raises(TypeError, match="teacher"):
        RECIPES[name].build()
