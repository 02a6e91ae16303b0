"""Gaussian classes against numpy and scikit-learn's discriminant."""

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from ckd.heads.class_gaussians import ClassGaussians, Sums
from ckd.heads.drift import Drift


def samples(labels, n=120, d=5, seed=0):
    """Correlated features (n, d) around a centre for each class; every label occurs."""
    rng = np.random.default_rng(seed)
    targets = rng.permutation(np.resize(labels, n))
    return rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + 2 * np.eye(10, d)[targets], targets


def gaussians(x, y, n_classes, pieces=1):
    sums = Sums()
    for some in np.array_split(np.arange(len(y)), pieces):
        sums.add(torch.tensor(x[some]), torch.tensor(y[some]))
    found = sums.gaussians()
    assert len(found.counts) == max(y) + 1
    nothing = torch.zeros(n_classes, dtype=torch.float64), torch.zeros(n_classes, x.shape[1], dtype=torch.float64)
    return found.joined(ClassGaussians(*nothing, torch.zeros_like(found.scatter)))


def same(one, other):
    for name, value in vars(one).items():
        torch.testing.assert_close(getattr(other, name), value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("pieces", [1, 7])
def test_means_and_scatter_are_numpys(pieces):
    x, y = samples([0, 1, 3])
    found = gaussians(x, y, 5, pieces)
    assert found.counts.tolist() == np.bincount(y, minlength=5).tolist()
    for c in (0, 1, 3):
        np.testing.assert_allclose(found.means[c], x[y == c].mean(0), rtol=1e-10)
    wanted = sum(np.cov(x[y == c].T, bias=True) * (y == c).sum() for c in (0, 1, 3))
    np.testing.assert_allclose(found.scatter, wanted, rtol=1e-9)


def covariance_of(x, y, share):
    """Unbiased, and shrunk as Chen et al. 2010, eq. 23 say, or by `share` where that is more; in numpy."""
    labels = np.unique(y)
    n, d = len(y) - len(labels), x.shape[1]
    pooled = sum(np.cov(x[y == c].T, bias=True) * (y == c).sum() for c in labels) / n
    square, trace = np.trace(pooled @ pooled), np.trace(pooled)
    rho = ((1 - 2 / d) * square + trace**2) / ((n + 1 - 2 / d) * (square - trace**2 / d))
    if rho / (1 - rho) < share:
        return pooled + share * trace / d * np.eye(d)
    return (1 + share) * ((1 - rho) * pooled + rho * trace / d * np.eye(d))


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 2, 3, 4], [1, 3, 4]])
@pytest.mark.parametrize(("n", "share"), [(60, 0.01), (60, 0.6), (3000, 0.05)])
def test_the_discriminant_is_that_of_a_shrunk_covariance(labels, n, share):
    x, y = samples(labels, n)
    weight, bias, seen = gaussians(x, y, 6).discriminant(share)
    assert seen.nonzero().flatten().tolist() == labels
    means = np.stack([x[y == c].mean(0) for c in labels])
    coef = np.linalg.solve(covariance_of(x, y, share), means.T).T
    wanted = x @ coef.T - 0.5 * (coef * means).sum(1)
    found = (torch.tensor(x) @ weight.T + bias)[:, seen].numpy()
    np.testing.assert_allclose(found, wanted - wanted.mean(1, keepdims=True), atol=1e-9)


def test_the_discriminant_of_many_samples_is_scikit_learns():
    x, y = samples([1, 3, 4], 60_000)
    x = (
        x @ np.linalg.inv(np.linalg.cholesky(np.cov(x[y == 1].T))).T
    )  # alike in all directions, where shrinkage is little
    weight, bias, seen = gaussians(x, y, 6).discriminant(1e-12)
    wanted = LinearDiscriminantAnalysis(solver="svd", priors=np.full(3, 1 / 3)).fit(x, y).decision_function(x)
    found = (torch.tensor(x) @ weight.T + bias)[:, seen].numpy()
    np.testing.assert_allclose(found, wanted - wanted.mean(1, keepdims=True), rtol=0.02, atol=1)


def test_shrinkage_leads_from_mahalanobis_to_nearest_means():
    x, y = samples(range(5), seed=3)
    found = gaussians(x, y, 5)
    weight, bias, _ = found.discriminant(1e9)
    nearest = torch.cdist(torch.tensor(x), found.means).argmin(1)
    assert torch.equal((torch.tensor(x) @ weight.T + bias).argmax(1), nearest)
    weight, bias, _ = found.discriminant(0.05)
    assert not torch.equal((torch.tensor(x) @ weight.T + bias).argmax(1), nearest)


@pytest.mark.parametrize("x", [[[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]])
def test_of_samples_that_do_not_differ_within_a_class_there_is_none(x):
    assert gaussians(np.array(x), np.array([0, 1] * (len(x) // 2)), 2).discriminant(0.05) is None


def test_two_samples_a_class_are_told_by_its_mean():
    x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.2], [1.0, 0.2]], dtype=torch.float64)
    weight, bias, _ = gaussians(x.numpy(), np.array([0, 1, 0, 1]), 2).discriminant(0.05)
    assert (x @ weight.T + bias).argmax(1).tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("labels", [([0, 1], [2, 3]), ([0, 1], [1, 2, 5]), ([3], [3])])
def test_joined_they_are_those_of_all_samples(labels):
    one, other = (samples(some, n, seed=n) for some, n in zip(labels, (60, 47), strict=True))
    n = max(max(some) for some in labels) + 1
    found = gaussians(*one, max(labels[0]) + 1).joined(gaussians(*other, n))
    same(found, gaussians(np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]]), n))


def test_carried_by_an_exact_map_they_are_those_of_the_mapped_samples():
    (x, y), rng = samples([0, 1, 2]), np.random.default_rng(1)
    matrix, shift = rng.standard_normal((5, 5)), rng.standard_normal(5)
    exact = Drift(torch.tensor(matrix), torch.tensor(shift), torch.zeros(5, 5, dtype=torch.float64))
    same(gaussians(x, y, 3).carried(exact), gaussians(x @ matrix + shift, y, 3))


def test_what_the_map_leaves_unexplained_is_added_for_each_sample():
    (x, y), eye = samples([0, 1], n=30), torch.eye(5, dtype=torch.float64)
    before = gaussians(x, y, 2)
    after = before.carried(Drift(eye, torch.zeros(5, dtype=torch.float64), 0.3 * eye))
    torch.testing.assert_close(after.scatter, before.scatter + 30 * 0.3 * eye)
    assert isinstance(after, ClassGaussians)
