"""The largest probabilities and the rest: by hand, and against scipy."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from ckd.teachers.top_k import compress, expand


def logits(*shape, seed=0, scale=3.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_by_hand():
    z = torch.tensor([[0.5, 0.1, 0.3, 0.06, 0.04]]).log() + 7
    values, classes = compress(z, 2)
    assert classes.tolist() == [[0, 2]]
    torch.testing.assert_close(values.exp(), torch.tensor([[0.5, 0.3, 0.2 / 3]]))
    back = expand(values, classes, 5).softmax(-1)
    torch.testing.assert_close(back, torch.tensor([[0.5, 0.2 / 3, 0.3, 0.2 / 3, 0.2 / 3]]))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("shape", [(6, 9), (2, 3, 9)])
def test_at_the_temperature_the_kept_probabilities_are_the_teachers_and_all_sum_to_one(temperature, shape):
    z = logits(*shape)
    values, classes = compress(z, 4, temperature=temperature)
    assert values.shape == (*shape[:-1], 5)
    found = softmax(expand(values, classes, 9).numpy() / temperature, axis=-1)
    wanted = softmax(z.double().numpy() / temperature, axis=-1)
    order = np.argsort(-wanted, axis=-1)
    kept, others = order[..., :4], order[..., 4:]
    take = np.take_along_axis
    np.testing.assert_allclose(take(found, kept, -1), take(wanted, kept, -1), rtol=1e-5)
    even = take(wanted, others, -1).mean(-1, keepdims=True).repeat(5, -1)
    np.testing.assert_allclose(take(found, others, -1), even, rtol=1e-5)


@pytest.mark.parametrize(("other", "sign"), [(4.0, 1), (0.5, -1)])
def test_at_a_higher_temperature_the_others_get_more_than_they_had_at_a_lower_less(other, sign):
    z = logits(50, 9, scale=1.0)
    values, classes = compress(z, 4, temperature=1.0)
    back = (expand(values, classes, 9) / other).softmax(-1).gather(-1, classes).sum(-1)
    true = (z / other).softmax(-1).gather(-1, classes).sum(-1)
    assert bool((sign * (true - back) > 0).all())


def test_what_no_float32_probability_holds_stays_finite():
    values, classes = compress(torch.tensor([[500.0, 0, -100, -400]]), 2)
    rest = np.logaddexp(-600.0, -900.0) - math.log(2)
    np.testing.assert_allclose(values, [[0, -500, rest]], rtol=1e-6)
    assert bool(expand(values, classes, 4).isfinite().all())


def test_a_softmax_among_the_known_classes():
    z, known = logits(5, 7), torch.tensor([1, 0, 1, 1, 0, 1, 1]).bool()
    z[:, 1] = 100  # whatever is there
    z[:, 4] = torch.nan
    values, classes = compress(z, 2, known=known)
    found, mask = expand(values, classes, 7), known.numpy()
    wanted = log_softmax(z.double().numpy()[:, mask], axis=-1)
    np.testing.assert_allclose(np.exp(found.numpy()[:, mask]).sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(found.numpy()[:, mask].max(-1), wanted.max(-1), rtol=1e-5)
    assert bool(found.isfinite().all())
