"""attention against the authors' two lines."""

import pytest
import torch
from torch.nn import functional as F

from ckd.errors import ConfigError
from ckd.losses import attention


def maps(*shapes):
    g = torch.Generator().manual_seed(6)
    return [torch.randn(shape, generator=g, dtype=torch.float64) for shape in shapes]


def test_its_mean_is_the_authors_code():
    student, teacher = maps((4, 3, 5, 6), (4, 8, 5, 6))
    at = lambda x: F.normalize(x.pow(2).mean(1).view(x.size(0), -1))  # noqa: E731
    torch.testing.assert_close(attention(student, teacher).mean(), (at(student) - at(teacher)).pow(2).mean())


def test_channels_signs_and_scale_do_not_matter():
    student, teacher = maps((2, 3, 4, 4), (2, 6, 4, 4))
    wanted = attention(student, teacher)
    torch.testing.assert_close(attention(-5 * student[:, [2, 0, 1]], teacher), wanted)
    torch.testing.assert_close(attention(student.repeat(1, 4, 1, 1), teacher), wanted)


@pytest.mark.parametrize("larger", ["student", "teacher"])
def test_the_larger_map_is_averaged_down(larger):
    small, large = maps((2, 3, 2, 2), (2, 3, 4, 4))
    mean = large.pow(2).mean(1, keepdim=True).view(2, 1, 2, 2, 2, 2).mean((3, 5)).sqrt()
    pair = (large, small) if larger == "student" else (small, large)
    wanted = (mean, small) if larger == "student" else (small, mean)
    torch.testing.assert_close(attention(*pair), attention(*wanted))


def test_sequences_and_gradient():
    student, teacher = maps((2, 3, 5), (2, 6, 5))
    assert torch.autograd.gradcheck(lambda x: attention(x, teacher), student.requires_grad_())
    same = teacher.clone().requires_grad_()
    attention(same, teacher).sum().backward()
    assert attention(same, teacher).tolist() == [0, 0]
    assert not same.grad.any()


def test_maps_without_any_excitation_are_finite():
    student = torch.zeros(2, 3, 4, 4, dtype=torch.float16, requires_grad=True)
    value = attention(student, torch.randn(2, 3, 4, 4).half())
    value.sum().backward()
    assert value.isfinite().all()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("shapes", [((2, 3), (2, 3)), ((2, 3, 4), (2, 3, 4, 4)), ((2, 3, 4), (3, 3, 4))])
def test_what_is_no_pair_of_maps_is_refused(shapes):
    with pytest.raises(ConfigError, match="feature maps to compare"):
        attention(*maps(*shapes))


@pytest.mark.parametrize("larger", ["student", "teacher"])
def test_the_longer_sequence_is_averaged_down(larger):
    short, long = maps((2, 3, 2), (2, 3, 6))
    mean = long.pow(2).mean(1, keepdim=True).view(2, 1, 2, 3).mean(3).sqrt()
    pair = (long, short) if larger == "student" else (short, long)
    wanted = (mean, short) if larger == "student" else (short, mean)
    torch.testing.assert_close(attention(*pair), attention(*wanted))
