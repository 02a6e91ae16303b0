"""relational_distance, relational_angle and similarity: loops as oracles, and what may change without a difference."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ckd.errors import ConfigError
from ckd.losses import Relational, relational_angle, relational_distance, similarity

LOSSES = (relational_distance, relational_angle, similarity)


def features(size=5, student=3, teacher=4):
    g = torch.Generator().manual_seed(5)
    return (torch.randn(size, width, generator=g, dtype=torch.float64) for width in (student, teacher))


def smooth_l1(gap):
    return 0.5 * gap**2 if abs(gap) < 1 else abs(gap) - 0.5


def distances(x):
    d = np.array([[np.linalg.norm(a - b) for b in x] for a in x])
    return d / d[d > 0].mean()


def cosines(x):
    found = np.zeros((len(x),) * 3)
    for i, j, k in itertools.product(range(len(x)), repeat=3):
        a, b = x[j] - x[i], x[k] - x[i]
        if i not in (j, k):
            found[i, j, k] = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    return found


def gram(x):
    return np.array([row / np.linalg.norm(row) for row in x @ x.T])


def by_hand(loss, s, t):
    if loss is similarity:
        return ((gram(s) - gram(t)) ** 2).sum(1) / len(s)
    of = distances if loss is relational_distance else cosines
    return np.vectorize(smooth_l1)(of(s) - of(t)).reshape(len(s), -1).mean(1)


@pytest.mark.parametrize("loss", LOSSES)
def test_it_is_the_loop(loss):
    student, teacher = features()
    np.testing.assert_allclose(
        loss(student, teacher).numpy(), by_hand(loss, student.numpy(), teacher.numpy()), atol=1e-12
    )


def test_the_means_are_those_of_the_authors_code():
    student, teacher = features()
    d_s, d_t = (torch.tensor(distances(x.numpy())) for x in (student, teacher))
    torch.testing.assert_close(relational_distance(student, teacher).mean(), F.smooth_l1_loss(d_s, d_t))
    a_s, a_t = (torch.tensor(cosines(x.numpy())).view(-1) for x in (student, teacher))
    torch.testing.assert_close(relational_angle(student, teacher).mean(), F.smooth_l1_loss(a_s, a_t))
    gap = torch.tensor(gram(student.numpy()) - gram(teacher.numpy()))
    torch.testing.assert_close(similarity(student, teacher).mean(), gap.square().sum() / 25)


@pytest.mark.parametrize("loss", LOSSES)
def test_rotation_and_scale_change_nothing(loss):
    student, teacher = features()
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    torch.testing.assert_close(loss(7 * student @ rotation, teacher), loss(student, teacher))
    torch.testing.assert_close(loss(student, 0.01 * teacher), loss(student, teacher))


@pytest.mark.parametrize("loss", [relational_distance, relational_angle])
def test_a_shift_changes_nothing(loss):
    student, teacher = features()
    torch.testing.assert_close(loss(student + 3, teacher - 2), loss(student, teacher))


@pytest.mark.parametrize("loss", LOSSES)
def test_the_order_of_samples_and_channels_does_not_matter(loss):
    student, teacher = features()
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(loss(student[order][:, [2, 0, 1]], teacher[order]), loss(student, teacher)[order])


@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_is_that_of_finite_differences_and_zero_where_equal(loss):
    student, teacher = features()
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher), student.clone().requires_grad_())
    same = student.clone().requires_grad_()
    value = loss(same, student)
    value.sum().backward()
    assert value.abs().max() < 1e-12
    assert same.grad.abs().max() < 1e-7


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_equal_samples_single_ones_and_half_precision_are_finite(loss, dtype):
    for x in (torch.ones(3, 4), torch.zeros(3, 4), torch.randn(1, 4), 100 * torch.randn(4, 4)):
        student = x.to(dtype).requires_grad_()
        value = loss(student, torch.randn(len(x), 6).to(dtype))
        assert value.dtype == torch.float32
        assert value.isfinite().all()
        value.sum().backward()
        assert student.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_maps_are_flattened_and_other_batches_refused(loss):
    student, teacher = torch.randn(4, 2, 3, 3), torch.randn(4, 5)
    torch.testing.assert_close(loss(student, teacher), loss(student.flatten(1), teacher))
    for other in (torch.randn(3, 5), torch.randn(4)):
        with pytest.raises(ConfigError, match="features to relate"):
            loss(student, other)


@pytest.mark.parametrize(("distance", "angle"), [(25.0, 50.0), (3.0, 0.0), (0.0, 2.0)])
def test_both_are_added_with_their_weights(distance, angle):
    student, teacher = features()
    wanted = distance * relational_distance(student, teacher) + angle * relational_angle(student, teacher)
    torch.testing.assert_close(Relational(distance, angle)(student, teacher), wanted)
