"""The map between features before and after, against scikit-learn's ridge regression."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from ckd.heads.drift import PairMoments, drift, regular


def pairs(n, d=4, seed=0, noise=0.5):
    rng = np.random.default_rng(seed)
    before = rng.standard_normal((n, d)) * np.arange(1, d + 1) + 3
    return before, before @ rng.standard_normal((d, d)) + 1 + noise * rng.standard_normal((n, d))


def moments(before, after, pieces=1):
    found = PairMoments()
    for some in np.array_split(np.arange(len(before)), pieces):
        found.add(torch.tensor(before[some]), torch.tensor(after[some]))
    return found


@pytest.mark.parametrize("ridge", [1e-3, 0.1, 3.0])
def test_it_is_a_ridge_regression_of_the_change_where_the_groups_count_alike(ridge):
    groups = [pairs(90, seed=1), pairs(25, seed=2)]
    found = drift([moments(*groups[0], pieces=4), moments(*groups[1])], ridge)
    before, after = (np.concatenate(some) for some in zip(*groups, strict=True))
    weights = np.repeat([0.5 / 90, 0.5 / 25], [90, 25])
    mean = weights @ before
    variance = weights @ (before - mean) ** 2
    fitted = Ridge(alpha=ridge * variance.mean(), solver="cholesky", tol=1e-12)
    fitted.fit(before, after - before, sample_weight=weights)
    np.testing.assert_allclose(found.matrix, np.eye(4) + fitted.coef_.T, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.shift, fitted.intercept_, rtol=1e-7, atol=1e-9)
    error = after - before - fitted.predict(before)
    np.testing.assert_allclose(found.error, (error.T * weights) @ error, rtol=1e-7, atol=1e-10)


def test_a_group_without_samples_is_left_out():
    one = pairs(40)
    alone, beside = drift([moments(*one)], 0.1), drift([moments(*one), PairMoments()], 0.1)
    assert all(torch.equal(value, getattr(beside, name)) for name, value in vars(alone).items())


def test_where_nothing_changed_it_changes_nothing():
    before, _ = pairs(3, d=6)  # fewer samples than features
    found = drift([moments(before, before)], 0.01)
    torch.testing.assert_close(found.matrix, torch.eye(6, dtype=torch.float64), atol=1e-10, rtol=0)
    torch.testing.assert_close(found.shift, torch.zeros(6, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(found.error, torch.zeros(6, 6, dtype=torch.float64), atol=1e-9, rtol=0)


def test_a_feature_that_is_always_the_same_is_shifted_alone():
    before, after = pairs(50)
    before[:, 1], after[:, 1] = 2.0, 5.0
    found, others = drift([moments(before, after)], 1e-9), [0, 2, 3]
    wanted = drift([moments(before[:, others], after[:, others])], 1e-9)
    np.testing.assert_allclose(before @ found.matrix.numpy()[:, 1] + found.shift[1].item(), 5.0, rtol=1e-9)
    np.testing.assert_allclose(found.matrix.numpy()[np.ix_(others, others)], wanted.matrix, rtol=1e-6, atol=1e-8)


def test_regular_adds_a_share_of_the_mean_variance():
    variance = torch.diag(torch.tensor([1.0, 3.0]).double())
    torch.testing.assert_close(regular(variance, 0.5), torch.diag(torch.tensor([2.0, 4.0]).double()))
    torch.testing.assert_close(regular(0 * variance, 0.5), 1e-12 * torch.eye(2).double())
