"""hierarchical_context against a numpy loop."""

import numpy as np
import pytest
import torch

from ckd.errors import ConfigError
from ckd.losses import feature_mse, hierarchical_context


def maps(*shapes):
    g = torch.Generator().manual_seed(6)
    return [tuple(torch.randn(3, *shape, generator=g, dtype=torch.float64) for shape in shapes) for _ in range(2)]


def pooled(x, size):
    """Means over places (C, size, size), cut as adaptive pooling cuts them."""
    h, w = x.shape[1:]
    cuts = [[(i * n // size, -(-(i + 1) * n // size)) for i in range(size)] for n in (h, w)]
    return np.array([[[c[a:b, d:e].mean() for d, e in cuts[1]] for a, b in cuts[0]] for c in x])


def by_hand(student, target):
    """Of one sample: Σ over layers."""
    found = 0.0
    for s, t in zip(student, target, strict=True):
        values, weights = [((s - t) ** 2).mean()], [1.0]
        for size in (4, 2, 1):
            if s.ndim == 3 and size < s.shape[1]:
                values.append(((pooled(s, size) - pooled(t, size)) ** 2).mean())
                weights.append(weights[-1] / 2)
        found += np.average(values, weights=weights)
    return found


@pytest.mark.parametrize(
    "shapes",
    [
        [(2, 8, 8)],
        [(2, 7, 5)],
        [(2, 7, 3)],
        [(3, 4, 4)],
        [(3, 2, 2)],
        [(5, 1, 1)],
        [(5,)],
        [(2, 9, 9), (4, 4, 4), (3, 2, 2), (6,)],
    ],
    ids=str,
)
def test_it_is_the_loop(shapes):
    student, target = maps(*shapes)
    wanted = [by_hand(*([x[b].numpy() for x in one] for one in (student, target))) for b in range(3)]
    np.testing.assert_allclose(hierarchical_context(student, target), wanted, rtol=1e-12)
    if len(shapes) == 1:
        np.testing.assert_allclose(hierarchical_context(student[0], target[0]), wanted, rtol=1e-12)


def test_its_gradient_is_that_of_finite_differences():
    student, target = maps((2, 5, 5), (3, 2, 2))
    student = tuple(x.requires_grad_() for x in student)
    assert torch.autograd.gradcheck(lambda *x: hierarchical_context(x, target), student)


def test_a_shift_of_the_whole_map_costs_more_than_noise_of_the_same_size():
    shift, noise = torch.ones(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    noise[..., ::2] = -1
    zero = torch.zeros(1, 1, 8, 8)
    assert feature_mse(shift, zero) == feature_mse(noise, zero) == 1
    assert hierarchical_context(shift, zero).item() == pytest.approx(1)
    assert hierarchical_context(noise, zero).item() == pytest.approx(1 / (1 + 1 / 2 + 1 / 4 + 1 / 8))


def test_other_shapes_and_numbers_of_layers_are_refused():
    student, target = maps((2, 4, 4), (3, 2, 2))
    with pytest.raises(ConfigError, match=r"layers to compare: expected as many as of the target, 1"):
        hierarchical_context(student, target[:1])
    with pytest.raises(ConfigError, match="features to compare"):
        hierarchical_context(student, target[::-1])
