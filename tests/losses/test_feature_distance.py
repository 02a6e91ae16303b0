"""feature_distance against numpy, for flat features and feature maps."""

import numpy as np
import pytest
import torch

from ckd.errors import ConfigError
from ckd.losses import feature_distance

SHAPES = pytest.mark.parametrize("shape", [(5, 7), (5, 4, 3), (5, 2, 3, 4)], ids=["flat", "sequence", "map"])


def features(shape, seed, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def by_hand(student, target):
    """Sample by sample the root of the sum of squares."""
    gaps = student.double().numpy() - target.double().numpy()
    return [np.sqrt(sum(value**2 for value in gap.ravel())) for gap in gaps]


def gradient(student, target):
    student = student.clone().requires_grad_()
    feature_distance(student, target).sum().backward()
    return student.grad


@SHAPES
def test_it_is_the_length_of_the_difference_of_each_sample(shape):
    a, b = features(shape, 0), features(shape, 1)
    found = feature_distance(a, b)
    assert found.shape == (5,)
    np.testing.assert_allclose(found.numpy(), by_hand(a, b), rtol=1e-12)


def test_a_feature_map_is_one_vector():
    a, b = features((5, 2, 3, 4), 0), features((5, 2, 3, 4), 1)
    norms = np.linalg.norm((a - b).numpy().reshape(5, 24), axis=1)
    np.testing.assert_allclose(feature_distance(a, b).numpy(), norms, rtol=1e-12)
    torch.testing.assert_close(feature_distance(a, b), feature_distance(a.flatten(1), b.flatten(1)))
    transposed = (a.transpose(1, 3), b.transpose(1, 3))  # not contiguous
    torch.testing.assert_close(feature_distance(*transposed), feature_distance(a, b))


def test_worked_example():
    """A map of ones, 2 · 3 · 6 = 36 of them, is 6 from a map of zeros."""
    assert feature_distance(torch.ones(2, 2, 3, 6), torch.zeros(2, 2, 3, 6)).tolist() == [6, 6]


@SHAPES
def test_a_root_mean_square_is_over_the_features_of_a_sample(shape):
    a, b = features(shape, 0), features(shape, 1)
    wanted = np.sqrt(np.square((a - b).numpy()).reshape(5, -1).mean(1))
    np.testing.assert_allclose(feature_distance(a, b, root_mean_square=True).numpy(), wanted, rtol=1e-12)


@SHAPES
def test_the_gradient_is_the_unit_vector_of_the_difference(shape):
    a, b = features(shape, 0), features(shape, 1)
    lengths = np.reshape(by_hand(a, b), (5, *[1] * (len(shape) - 1)))
    np.testing.assert_allclose(gradient(a, b).numpy(), (a - b).numpy() / lengths, rtol=1e-12)


@SHAPES
def test_equal_features_teach_nothing_and_break_nothing(shape):
    a = features(shape, 0)
    assert not feature_distance(a, a.clone()).any()
    assert not gradient(a, a.clone()).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@SHAPES
def test_half_precision_is_computed_in_single_precision(dtype, shape):
    a, b = 1000 * features(shape, 0, dtype), -1000 * features(shape, 1, dtype)
    found = feature_distance(a, b)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), by_hand(a, b), rtol=1e-5)  # squares beyond float16's 65504


@pytest.mark.parametrize(
    ("student", "target"),
    [
        ((5, 7), (5, 3)),
        ((5, 7), (4, 7)),
        ((5, 7), (1, 7)),
        ((5, 7), (5, 1)),
        ((5, 7), (7,)),
        ((5, 2, 3, 4), (5, 24)),
        ((5, 2, 3, 4), (5, 2, 4, 3)),
        ((5, 2, 3, 4), (5, 2, 1, 1)),
    ],
)
def test_shapes_that_differ_are_refused(student, target):
    with pytest.raises(ConfigError, match="features to compare") as caught:
        feature_distance(torch.zeros(student), torch.zeros(target))
    assert f"the target's {target}; received student features of shape {student}" in str(caught.value)
