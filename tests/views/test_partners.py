"""Partners: never oneself unless alone, of one's own group, each other one equally likely."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from ckd.objective import Batch
from ckd.objective.batch import join
from ckd.views import anyone, same_class, same_experience


def batch_of(targets, experiences=None):
    targets = torch.tensor(targets, dtype=torch.int64)
    experiences = None if experiences is None else torch.tensor(experiences, dtype=torch.int64)
    return Batch(torch.zeros(len(targets), 1), targets, None, experiences=experiences)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def groups_of(partners, batch):
    """For each sample the rows of its group, itself included, by a loop."""
    experiences = [0] * len(batch.targets) if batch.experiences is None else batch.experiences.tolist()
    keys = {
        anyone: [0] * len(batch.targets),
        same_experience: experiences,
        same_class: list(zip(experiences, batch.targets.tolist(), strict=True)),
    }[partners]
    return [[j for j, other in enumerate(keys) if other == key] for key in keys]


MIXED = ([3, 1, 3, 3, 0, 1, 3, 2, 1, 3, 0], [2, 0, 2, 0, 1, 0, 2, 5, 0, 0, 1])
ALL = pytest.mark.parametrize("partners", [anyone, same_experience, same_class])


@ALL
@pytest.mark.parametrize("known", [True, False], ids=["memory", "stream"])
def test_a_partner_is_another_of_the_group_unless_one_is_alone(partners, known):
    batch, g = batch_of(MIXED[0], MIXED[1] if known else None), generator()
    groups = groups_of(partners, batch)
    assert any(len(group) == 1 for group in groups) == (
        partners is same_class or (partners is same_experience and known)
    )
    for _ in range(200):
        found = partners(batch, g)
        assert found.shape == (11,)
        assert found.dtype == torch.int64
        for i, partner in enumerate(found.tolist()):
            assert partner in groups[i]
            assert partner != i or len(groups[i]) == 1


@ALL
def test_beside_remembered_samples_those_of_the_stream_are_a_group(partners):
    memory, new = batch_of([0, 1, 0, 1, 2, 2], [0, 0, 0, 0, 1, 1]), batch_of([2, 2, 3, 3])
    union, g = join([new, memory]), generator()
    assert union.experiences.tolist() == [-1] * 4 + [0] * 4 + [1] * 2
    groups = groups_of(partners, union)
    for _ in range(100):
        assert all(partner in group for partner, group in zip(partners(union, g).tolist(), groups, strict=True))
    assert join([new, new]).experiences is None


@ALL
def test_each_other_one_is_equally_likely(partners):
    batch, g, counts = batch_of(*MIXED), generator(1), [Counter() for _ in MIXED[0]]
    for _ in range(2000):
        for i, partner in enumerate(partners(batch, g).tolist()):
            counts[i][partner] += 1
    for i, group in enumerate(groups_of(partners, batch)):
        others = [j for j in group if j != i]
        if len(others) > 1:
            assert chisquare([counts[i][j] for j in others]).pvalue > 0.001


def test_partners_are_drawn_for_each_by_itself():
    """Not one rotation for all: of three, both derangements and the two that are none come equally often."""
    g, batch = generator(2), batch_of([0, 0, 0])
    counts = Counter(tuple(anyone(batch, g).tolist()) for _ in range(4000))
    assert len(counts) == 8
    assert chisquare(list(counts.values())).pvalue > 0.001


@ALL
def test_few_samples(partners):
    assert partners(batch_of([4], [7]), generator()).tolist() == [0]
    assert partners(batch_of([4] * 2, [7] * 2), generator()).tolist() == [1, 0]


def test_classes_and_experiences_are_not_mixed_up():
    """Class and experience are two numbers, however large."""
    big = 2**31
    batch = batch_of([big, 0, 0, big, 1], [0, 1, 1, 0, 0])
    assert same_class(batch, generator()).tolist() == [3, 2, 1, 0, 4]


def test_a_large_batch_in_one_draw_reaches_both_ends():
    n = 2**9
    batch = batch_of([0] * n)
    step = np.concatenate([(anyone(batch, generator(s)).numpy() - np.arange(n)) % n for s in range(60)])
    assert step.min() >= 1
    assert chisquare(np.histogram(step, bins=np.arange(1, n + 1, 73))[0]).pvalue > 0.001


@ALL
def test_draws_come_from_the_generator_alone(partners):
    batch, state = batch_of(*MIXED), torch.random.get_rng_state()
    one, same, other = (torch.stack([partners(batch, g) for _ in range(5)]) for g in map(generator, (0, 0, 1)))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(state, torch.random.get_rng_state())
