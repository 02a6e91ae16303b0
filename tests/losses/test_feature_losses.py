"""feature_mse and cosine_distance against torch and numpy."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ckd.errors import ConfigError
from ckd.losses import cosine_distance, feature_mse


def features():
    drawn = torch.randn(2, 4, 3, 2, 2, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    return drawn[0], drawn[1]


def test_the_mean_of_feature_mse_is_torchs():
    student, target = features()
    torch.testing.assert_close(feature_mse(student, target).mean(), F.mse_loss(student, target))


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_cosine_and_angle_are_numpys(weight):
    student, target = features()
    wanted = []
    for a, b in zip(student.flatten(1).numpy(), target.flatten(1).numpy(), strict=True):
        cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        wanted.append(1 - cosine + weight * np.arccos(cosine) / np.pi)
    np.testing.assert_allclose(cosine_distance(student, target, angle_weight=weight), wanted, rtol=1e-10)


def test_size_does_not_matter_and_the_angle_has_a_gradient_near_agreement():
    student, target = features()
    torch.testing.assert_close(cosine_distance(5 * student, target), cosine_distance(student, target))
    near = (target + 1e-3 * student).requires_grad_()
    small = torch.autograd.grad(cosine_distance(near, target).sum(), near)[0].norm()
    angle = torch.autograd.grad(cosine_distance(near, target, angle_weight=1.0).sum(), near)[0].norm()
    assert angle > 50 * small


def test_parallel_opposite_and_empty_features_are_finite():
    student = torch.tensor([[1.0, 2.0], [-1.0, -2.0], [0.0, 0.0]], requires_grad=True)
    target = torch.tensor([[2.0, 4.0], [1.0, 2.0], [1.0, 0.0]])
    loss = cosine_distance(student, target, angle_weight=1.0)
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([0, 3, 1.5], abs=2e-3)
    assert student.grad.isfinite().all()


def test_a_cosine_that_is_rounded_to_more_than_1_has_an_angle():
    student = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
    cosine = F.cosine_similarity(student, student, dim=1)
    assert (cosine > 1).any()
    loss = cosine_distance(torch.cat([student, -student]), student.repeat(2, 1), angle_weight=1.0)
    torch.testing.assert_close(loss, torch.tensor([0.0, 3.0]).repeat_interleave(2000), atol=1e-3, rtol=0)


def test_wrong_shapes_and_weights_are_refused():
    student, target = features()
    for loss in (feature_mse, cosine_distance):
        with pytest.raises(ConfigError, match="adaptor"):
            loss(student, target[:, :2])
    with pytest.raises(ConfigError, match="angle_weight"):
        cosine_distance(student, target, angle_weight=-1.0)
