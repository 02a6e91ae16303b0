"""Probabilities fitted to networks that see some classes as one: against scipy's minimum and closed forms."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp, softmax

from ckd.teachers.grouped_fit import GroupedFit

C = 7


def drawn(n_specialists, scale, seed, size=3):
    """A generalist's logits (C,), and the classes and logits (classes + 1,) of specialists that all know its top."""
    rng = np.random.default_rng(seed)
    general = scale * rng.standard_normal(C)
    top, specialists = int(general.argmax()), []
    for _ in range(n_specialists):
        others = rng.permutation([c for c in range(C) if c != top])[: size - 1]
        specialists.append(([top, *others.tolist()], scale * rng.standard_normal(size + 1)))
    return general, specialists


def fit(general, specialists, dtype=torch.float64):
    """A GroupedFit of one sample."""
    groups = torch.ones(len(specialists), C, dtype=dtype)
    log_single = [log_softmax(general)]
    for k, (classes, z) in enumerate(specialists):
        groups[k, classes] = 0
        row = np.full(C, -np.inf)
        row[classes] = log_softmax(z)[:-1]
        log_single.append(row)
    grouped = [softmax(z)[-1] for _, z in specialists]
    log_single = torch.tensor(logsumexp(log_single, axis=0), dtype=dtype)
    return GroupedFit(log_single[None], torch.tensor([grouped], dtype=dtype), groups)


def divergence(log_q, general, specialists):
    """Eq. 5 and its gradient by log q, written as a loop over networks."""
    p, q = softmax(general), np.exp(log_q)
    value, gradient = p @ (np.log(p) - log_q), -p
    for classes, z in specialists:
        p, rest = softmax(z), [c for c in range(C) if c not in classes]
        inside, outside = p[:-1] @ (np.log(p[:-1]) - log_q[classes]), p[-1] * (np.log(p[-1]) - logsumexp(log_q[rest]))
        value += inside + outside
        gradient[classes] -= p[:-1]
        gradient[rest] -= p[-1] * q[rest] / q[rest].sum()
    return value, gradient


def minimum(general, specialists):
    def of(z):
        value, gradient = divergence(log_softmax(z), general, specialists)
        return value, gradient - gradient.sum() * softmax(z)

    found = minimize(of, log_softmax(general), jac=True, method="BFGS", options={"gtol": 1e-11, "maxiter": 5000})
    return softmax(found.x)


@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_it_is_scipys_minimum(n, scale):
    for seed in range(3):
        general, specialists = drawn(n, scale, seed)
        found = fit(general, specialists).log_probabilities(30 if n > 1 else 0)[0].exp().numpy()
        np.testing.assert_allclose(found, minimum(general, specialists), atol=1e-6)
        assert found.sum() == pytest.approx(1, rel=1e-12)


def test_with_one_group_one_step_is_the_closed_form():
    """The mean of both within the specialist's classes; outside it, shares as the generalist has them."""
    general, [(classes, z)] = drawn(1, 3.0, 0)
    p, rest = softmax(general), [c for c in range(C) if c not in classes]
    wanted = np.empty(C)
    wanted[classes] = (p[classes] + softmax(z)[:-1]) / 2
    wanted[rest] = p[rest] / p[rest].sum() * (p[rest].sum() + softmax(z)[-1]) / 2
    for cycles in (0, 5):
        found = fit(general, [(classes, z)]).log_probabilities(cycles)[0]
        np.testing.assert_allclose(found.exp().numpy(), wanted, rtol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_no_cycle_raises_the_divergence(seed):
    general, specialists = drawn(4, 6.0, seed)
    path = [fit(general, specialists).log_probabilities(cycles)[0].numpy() for cycles in range(25)]
    values = np.array([divergence(log_q, general, specialists)[0] for log_q in path])
    assert (np.diff(values) < 1e-12).all()
    assert values[0] > values[-1]


def test_extrapolation_gains_more_than_the_steps_that_it_costs():
    general, specialists = drawn(3, 4.0, 3)
    one, wanted = fit(general, specialists), minimum(general, specialists)
    ratio = one._step(torch.ones(1, C, dtype=torch.float64))
    for _ in range(3 * 4):
        ratio = one._step(ratio)
    plain, fast = (x[0].exp().numpy() for x in (one.log_single + ratio.log(), one.log_probabilities(4)))
    assert np.abs(fast - wanted).max() < 0.2 * np.abs(plain - wanted).max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_certain_networks_that_disagree_are_finite(dtype):
    general, specialists = drawn(3, 300.0, 0)
    found = fit(general, specialists, dtype).log_probabilities(30)
    assert found.isfinite().all()
    assert float(found.exp().sum()) == pytest.approx(1, rel=1e-5)
