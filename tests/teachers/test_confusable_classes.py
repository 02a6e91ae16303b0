"""Clusters of classes that are confused, where it is known which are."""

import pytest
import torch

from ckd.errors import ConfigError, DataError
from ckd.teachers import confusable_classes

GROUPS = [(0, 5, 9), (1, 2), (3, 4, 7, 8), (6, 10, 11)]


def confused(groups=GROUPS, n=600, seed=0, sure=()):
    """Probabilities of a network that confuses the classes within each group; those in `sure` with none."""
    g, c = torch.Generator().manual_seed(seed), sum(map(len, groups))
    of = {k: group for group in groups for k in group}
    z = 0.3 * torch.randn(n, c, generator=g)
    for i in range(n):
        k = i % c
        z[i, [k] if k in sure else list(of[k])] += 4 + torch.randn(1 if k in sure else len(of[k]), generator=g)
    return z.softmax(1)


@pytest.mark.parametrize("seed", [0, 1])
def test_classes_that_are_confused_are_in_one_cluster(seed):
    assert confusable_classes(confused(seed=seed), 4) == GROUPS


@pytest.mark.parametrize("n", [1, 3, 7, 12])
def test_each_class_is_in_one_cluster_and_equal_seeds_give_equal_ones(n):
    p = torch.rand(50, 12, generator=torch.Generator().manual_seed(1)).softmax(1)
    found = confusable_classes(p, n, seed=3)
    assert sorted(c for one in found for c in one) == list(range(12))
    assert len(found) == n
    assert found == confusable_classes(p, n, seed=3) == sorted(tuple(sorted(one)) for one in found)


def test_only_the_most_confused_may_be_covered():
    p = confused(sure=(1, 2, 6, 10, 11))
    assert confusable_classes(p, 2, covered=7) == [(0, 5, 9), (3, 4, 7, 8)]


def test_a_few_classes_that_vary_most_do_not_take_the_clusters_for_themselves():
    p = confused()
    p[::2] = torch.nn.functional.one_hot(torch.arange(300) % 3, 12).float()  # 0, 1 and 2 are frequent and certain
    assert [len(one) for one in confusable_classes(p, 4)] != [9, 1, 1, 1]
    assert max(map(len, confusable_classes(p, 4))) <= 5


def test_a_class_that_is_never_predicted_is_in_a_cluster_too():
    p = torch.cat([confused(), torch.zeros(600, 1)], 1)
    assert 12 in [c for one in confusable_classes(p, 4) for c in one]


@pytest.mark.parametrize("n", [0, 13])
def test_numbers_of_clusters_that_cannot_be_are_refused(n):
    with pytest.raises(ConfigError, match="number of clusters: expected from 1 to 12"):
        confusable_classes(confused(), n)
    with pytest.raises(ConfigError, match="covered classes: expected from 1 to 12"):
        confusable_classes(confused(), 1, covered=n)
    with pytest.raises(ConfigError, match="number of clusters: expected from 1 to 3"):
        confusable_classes(confused(), 4, covered=3)


@pytest.mark.parametrize(
    "wrong", [torch.randn(5, 3), torch.rand(3), torch.full((1, 2), 0.5), torch.full((4, 4), 0.5), torch.zeros(3, 2, 2)]
)
def test_what_are_no_probabilities_is_refused(wrong):
    with pytest.raises(DataError, match="predictions of a generalist: expected probabilities"):
        confusable_classes(wrong, 1)


def test_fewer_kinds_of_classes_than_clusters_are_refused():
    """Three of five classes are never predicted: nothing tells them apart."""
    predicted = torch.tensor([[0.9, 0.1, 0, 0, 0], *[[0.5, 0.5, 0, 0, 0]] * 5])
    with pytest.raises(ConfigError, match="at most 3, the kinds of classes"):
        confusable_classes(predicted, n_clusters=4)
