import numpy as np
import pytest
import torch

from ckd.errors import ConfigError
from ckd.losses import feature_distance


def features(seed, dtype=torch.float64):
    return torch.randn(5, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def test_it_is_the_length_of_the_difference():
    a, b = features(0), features(1)
    wanted = np.linalg.norm(a.numpy() - b.numpy(), axis=1)
    assert np.allclose(feature_distance(a, b), wanted, rtol=1e-12)
    assert feature_distance(a, b).item() == pytest.approx(wanted.mean())


def test_equal_features_teach_nothing_and_break_nothing():
    a = features(0).requires_grad_()
    feature_distance(a, a.detach().clone()).backward()
    assert (a.grad == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_full(dtype):
    loss = feature_distance(100 * features(0, dtype), -100 * features(1, dtype))
    assert loss.dtype == torch.float32
    assert loss.isfinite().all()


def test_shapes_that_differ_are_refused():
    with pytest.raises(ConfigError, match="shape"):
        feature_distance(features(0), features(1)[:, :3])
