"""Mixup: on the line between two samples, anywhere on it as likely; and their labels as probabilities."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from scipy.stats import kstest
from torch import nn

from ckd import Engine, Memory, Objective, Snapshot, Term
from ckd.data.preparation import RandomFlip
from ckd.errors import ConfigError
from ckd.losses import cross_entropy, soft_cross_entropy
from ckd.memory import Rows
from ckd.objective import Batch, Shown, best_teacher, labels, old_probabilities, replay, stored_logits, stream, teacher
from ckd.views import Augmented, Chain, Collage, Mixup, Noise, anyone, same_class, same_experience

SHAPES = pytest.mark.parametrize("shape", [(30,), (3, 6, 8)], ids=["flat", "image"])


def batch_of(shape, n=8, seed=0):
    inputs = torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    label = torch.arange(n)
    return Batch(inputs, label % 2, label, torch.randn(n, 4), label // 2 % 3)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def turned(batch, _):
    return torch.arange(len(batch.targets)).roll(1)


def shares(mixed, batch, partner):
    """λ of each sample, from its first place."""
    x, other, y = (part.flatten(1) for part in (batch.inputs, batch.inputs[partner], mixed.inputs))
    share = ((y - other) / (x - other))[:, :1]
    assert torch.allclose(y, share * x + (1 - share) * other, rtol=1e-9, atol=1e-9)
    return share[:, 0]


@SHAPES
def test_it_is_a_convex_sum_with_a_share_drawn_evenly_for_each_sample(shape):
    batch = batch_of(shape, n=1500)
    share = shares(Mixup(turned)(batch, generator()), batch, turned(batch, None)).numpy()
    assert share.min() >= 0
    assert share.max() <= 1
    assert kstest(share, "uniform").pvalue > 0.01


@SHAPES
@pytest.mark.parametrize(
    ("view", "key"),
    [
        (Mixup(anyone), lambda y, e: 0),
        (Mixup(), lambda y, e: e),
        (Mixup(same_experience), lambda y, e: e),
        (Mixup(same_class), lambda y, e: (y, e)),
    ],
    ids=["anyone", "default", "same experience", "same class"],
)
def test_the_other_sample_is_a_partner_that_is_allowed(shape, view, key):
    batch, g = batch_of(shape), generator()
    keys = [key(y, e) for y, e in zip(batch.targets.tolist(), batch.experiences.tolist(), strict=True)]
    met = [set() for _ in keys]
    for _ in range(60):
        mixed = view(batch, g)
        for i, y in enumerate(mixed.inputs.flatten(1)):
            x = batch.inputs.flatten(1)
            gap = y - x[i]
            for j in range(8):
                way = x[j] - x[i]
                share = (gap @ way / (way @ way)).item() if j != i else 0.0
                if j != i and abs(share) > 1e-6 and torch.allclose(gap, share * way, atol=1e-6):
                    met[i].add(j)
    assert met == [{j for j, other in enumerate(keys) if other == k and j != i} for i, k in enumerate(keys)]


@SHAPES
def test_what_is_known_stays_the_first_samples_but_for_its_logits(shape):
    batch, same = batch_of(shape), batch_of(shape)
    mixed = Mixup(anyone)(batch, generator())
    assert mixed.logits is None
    assert mixed.samples == 8
    assert mixed.inputs.dtype == torch.float64
    for name in ("targets", "tasks", "experiences"):
        assert torch.equal(getattr(mixed, name), getattr(same, name))
    assert torch.equal(batch.inputs, same.inputs)


@SHAPES
def test_draws_come_from_the_generator_alone(shape):
    batch, state = batch_of(shape), torch.random.get_rng_state()
    one, same, other = (Mixup()(batch, generator(seed)).inputs for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(state, torch.random.get_rng_state())


# labels ------------------------------------------------------------------------------------------------------------


@SHAPES
@pytest.mark.parametrize("partners", [turned, anyone, same_experience])
def test_labels_are_mixed_as_the_inputs_are(shape, partners):
    """λ y + (1 - λ) y', with λ taken from the inputs."""
    batch = batch_of(shape)
    batch.targets = torch.tensor([0, 3, 1, 3, 4, 2, 1, 0])
    view = Mixup(partners, labels=True)(batch, generator(3))
    partner = view_partner(partners, batch, generator(3))
    share = shares(view, batch, partner).numpy()
    one_hot = np.eye(6)[batch.targets]
    wanted = share[:, None] * one_hot + (1 - share[:, None]) * one_hot[partner]
    found = view.probabilities(6)
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-12)
    assert found.dtype == view.mixed_shares.dtype == torch.float64
    assert torch.equal(view.mixed_labels, torch.stack([batch.targets, batch.targets[partner]], 1))


def view_partner(partners, batch, g):
    """The partners that the view draws: after its shares."""
    torch.rand(len(batch.targets), *[1] * (batch.inputs.dim() - 1), generator=g)
    return partners(batch, g)


@SHAPES
def test_mixing_labels_changes_nothing_else(shape):
    batch = batch_of(shape)
    plain, mixed = Mixup()(batch, generator()), Mixup(labels=True)(batch, generator())
    assert torch.equal(plain.inputs, mixed.inputs)
    assert mixed.logits is None
    for name in ("targets", "tasks", "experiences", "samples"):
        assert getattr(mixed, name) is getattr(plain, name)
    assert plain.mixed_labels is plain.mixed_shares is plain.probabilities(4) is None
    assert batch.mixed_labels is batch.mixed_shares is None


def test_two_of_one_class_keep_their_label():
    view = Mixup(same_class, labels=True)(batch_of((30,)), generator())
    np.testing.assert_allclose(view.probabilities(2), np.eye(2)[view.targets], rtol=1e-12)


def test_mixed_twice_labels_are_those_of_all_four():
    """λ₂ (λ₁ y + (1 - λ₁) y') + (1 - λ₂) (the same of the partner)."""
    batch, g = batch_of((30,)), generator(1)
    batch.targets = torch.tensor([0, 3, 1, 3, 4, 2, 1, 0])
    once = Mixup(turned, labels=True)(batch, g)
    twice = Mixup(turned, labels=True)(once, g)
    chained = Chain((Mixup(turned, labels=True), Mixup(turned, labels=True)))(batch, generator(1))
    partner = turned(batch, None)
    first, second = shares(once, batch, partner).numpy()[:, None], shares(twice, once, partner).numpy()[:, None]
    one_hot = np.eye(5)[batch.targets]
    p = first * one_hot + (1 - first) * one_hot[partner]
    wanted = second * p + (1 - second) * p[partner]
    np.testing.assert_allclose(twice.probabilities(5), wanted, rtol=1e-8, atol=1e-9)
    assert torch.equal(chained.probabilities(5), twice.probabilities(5))
    assert twice.mixed_labels.shape == twice.mixed_shares.shape == (8, 4)


def test_a_label_for_each_place_cannot_be_mixed():
    batch = batch_of((3, 6, 8))
    batch.targets = torch.zeros(8, 6, 8, dtype=torch.int64)
    with pytest.raises(ConfigError, match=r"mixup of labels: expected one label for each sample, \(B,\)"):
        Mixup(turned, labels=True)(batch, generator())
    Mixup(turned)(batch, generator())


def test_views_of_single_samples_keep_mixed_labels():
    batch = batch_of((3, 6, 8))
    mixed = Mixup(labels=True)(batch, generator())
    for view in (Noise(0.1), Augmented(RandomFlip())):
        assert torch.equal(view(mixed, generator()).probabilities(2), mixed.probabilities(2))


# objectives --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("views", "mixes", "mixes_labels"),
    [
        ((Mixup(labels=True),), True, True),
        ((Mixup(),), True, False),
        ((Collage(),), True, False),
        ((Noise(0.1), Mixup(labels=True)), True, True),
        ((Mixup(labels=True), Mixup(same_class, labels=True)), True, True),
        ((Mixup(labels=True), Mixup()), True, False),
        ((Mixup(labels=True), Collage()), True, False),
        ((Noise(0.1), Chain((Mixup(labels=True), Noise(0.1)))), True, True),
        ((Mixup(labels=True), Chain((Collage(), Noise(0.1)))), True, False),
    ],
    ids=range(9),
)
def test_a_chain_mixes_labels_if_each_view_in_it_that_mixes_does(views, mixes, mixes_labels):
    chain = Chain(views)
    assert chain.mixes is mixes
    assert chain.labels is mixes_labels
    term = Term("mixed", replay("a"), loss=cross_entropy, view=chain)
    if mixes_labels:
        Objective("x", [term], memory=Memory(10))
    else:
        with pytest.raises(ConfigError, match=r"a target that holds for mixed samples.*Mixup\(labels=True\)"):
            Objective("x", [term], memory=Memory(10))


def test_a_chain_that_mixes_nothing_says_so():
    assert not Chain((Noise(0.1), Augmented(RandomFlip()))).mixes
    assert not Chain(()).mixes


PAST = {"past": Snapshot()}
ONLY_OF_SAMPLES = [stored_logits, best_teacher(("past",)), old_probabilities("past")]


@pytest.mark.parametrize("target", ONLY_OF_SAMPLES, ids=repr)
@pytest.mark.parametrize("view", [Mixup(labels=True), Chain((Mixup(labels=True), Noise(0.1)))], ids=range(2))
def test_mixed_labels_make_no_other_facts_about_samples_true(target, view):
    term = Term("mixed", replay("a"), target=target, loss=cross_entropy, view=view)
    with pytest.raises(ConfigError, match="a target that holds for mixed samples"):
        Objective("x", [term], memory=Memory(10), teachers=PAST)


@pytest.mark.parametrize("draw", [replay("a"), stream])
def test_labels_that_are_mixed_and_teachers_are_targets_of_mixtures(draw):
    for view, target in (
        (Mixup(labels=True), labels),
        (Mixup(labels=True), teacher("past")),
        (Mixup(), teacher("past")),
    ):
        term = Term("mixed", draw, target=target, loss=soft_cross_entropy, view=view)
        Objective("x", [term], memory=Memory(10), teachers=PAST)


def test_labels_without_mixing_them_are_refused():
    term = Term("mixed", replay("a"), target=labels, loss=cross_entropy, view=Mixup())
    with pytest.raises(ConfigError, match=r"Use target=teacher\(\.\.\.\), or a view that mixes labels too"):
        Objective("x", [term], memory=Memory(10))


@pytest.mark.parametrize("draw", [replay("a"), stream], ids=["memory", "stream"])
@pytest.mark.parametrize("times", [1, 2])
def test_the_term_is_the_cross_entropy_with_the_mixed_labels(draw, times):
    rows, n = Memory(20), torch.arange(20)
    rows.add(Rows(batch_of((5,), 20).inputs, n % 4, n * 0, n % 2))
    view = Chain((Mixup(anyone, labels=True),) * times)
    engine = Engine(Objective("x", [Term("mixed", draw, loss=cross_entropy, view=view)], memory=rows))
    model = nn.Linear(5, 4).double()
    engine.begin(range(4))
    step = engine.step(model, batch_of((5,), seed=1).inputs, torch.tensor([0, 1, 2, 3, 3, 2, 1, 0]))
    engine.receive(model(step.inputs))
    _, value = step.values()["mixed"]
    shown = step.batch(Shown(draw, view))
    p, z = np.zeros((8, 4)), model(shown.inputs).detach().numpy()
    for i, (of, share) in enumerate(zip(shown.mixed_labels.tolist(), shown.mixed_shares.tolist(), strict=True)):
        for label, part in zip(of, share, strict=True):
            p[i, label] += part
    assert (p.max(1) < 1).any()
    assert value.item() == pytest.approx(-(p * log_softmax(z, axis=1)).sum(1).mean(), rel=1e-6)
