"""Random parts of images, brought back to their size."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from ckd.errors import ConfigError
from ckd.objective import Batch
from ckd.views import RandomResizedCrop


def batch_of(inputs):
    n = torch.arange(len(inputs))
    return Batch(inputs, n % 3, n, torch.randn(len(inputs), 4), n % 2)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def ramps(n, height=9, width=7):
    """Images (n, 2, height, width) whose channels are the row and the column of each pixel."""
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    return torch.tensor(np.stack([rows, columns]), dtype=torch.float64).repeat(n, 1, 1, 1)


def edges(cropped):
    """First and last row and column that each result takes from its image, from the ramps away from the border."""
    _, _, h, w = cropped.shape
    found = cropped.numpy()
    dy, dx = found[:, 0, h // 2 + 1, 0] - found[:, 0, h // 2, 0], found[:, 1, 0, w // 2 + 1] - found[:, 1, 0, w // 2]
    y, x = found[:, 0, h // 2, 0], found[:, 1, 0, w // 2]
    return y - dy * (h // 2 + 0.5), dy * h, x - dx * (w // 2 + 0.5), dx * w


def test_each_image_is_a_rectangle_of_its_own_within_the_image():
    top, height, left, width = edges(RandomResizedCrop(0.2)(batch_of(ramps(3000)), generator()).inputs)
    area, ratio = np.abs(width) * height / 63, np.abs(width) / 7 / (height / 9)
    assert (np.minimum(left, left + width) >= -0.5 - 1e-6).all()
    assert (np.maximum(left, left + width) <= 6.5 + 1e-6).all()
    assert (top >= -0.5 - 1e-6).all()
    assert (top + height <= 8.5 + 1e-6).all()
    assert (ratio < 4 / 3 + 1e-4).all()
    assert (ratio > 3 / 4 - 1e-4).all()
    free = area < 0.7  # none of these was cut at the image's border
    assert kstest((area[free] - 0.2) / 0.5, "uniform").pvalue > 0.01
    assert kstest((top[free] + 0.5) / (9 - height[free]), "uniform").pvalue > 0.01
    assert 0.46 < (width < 0).mean() < 0.54


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_the_whole_image_is_the_image_or_its_mirror(flip, dtype):
    images = torch.randn(4, 3, 8, 8, dtype=dtype)
    found = RandomResizedCrop(1.0, flip, ratio=1.0)(batch_of(images), generator()).inputs
    assert found.dtype == dtype
    assert torch.allclose(found, images.flip(-1) if flip else images, atol=1e-5)


def test_what_is_known_of_the_samples_stays_with_them():
    batch = batch_of(ramps(5))
    view = RandomResizedCrop()(batch, generator())
    for name in ("targets", "tasks", "logits", "experiences"):
        assert getattr(view, name) is getattr(batch, name)


@pytest.mark.parametrize("shape", [(5, 6), (5, 3, 6)])
def test_samples_that_are_no_images_are_as_they_are(shape):
    batch = batch_of(torch.randn(shape))
    assert RandomResizedCrop()(batch, generator()) is batch


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"min_scale": 0}, "smallest share"),
        ({"min_scale": 1.1}, "smallest share"),
        ({"min_scale": float("nan")}, "smallest share"),
        ({"flip": -0.1}, "flip"),
        ({"ratio": 0.9}, "ratio"),
    ],
)
def test_numbers_outside_their_range_are_refused(change, what):
    with pytest.raises(ConfigError, match=f"{what} of the crop"):
        RandomResizedCrop(**change)
