"""Masks: their shapes, the shares that they take, and where."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest

from ckd.errors import ConfigError
from ckd.views import patches, pixels, rectangle


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("mask", "inputs", "expected"),
    [
        (pixels, (7, 30), (7, 30)),
        (pixels, (7, 3, 10), (7, 3, 10)),
        (pixels, (7, 3, 8, 9), (7, 1, 8, 9)),
        (patches(4), (7, 3, 8, 9), (7, 1, 8, 9)),
        (patches(20), (7, 3, 8, 9), (7, 1, 8, 9)),
        (rectangle, (7, 3, 8, 9), (7, 1, 8, 9)),
        (pixels, (0, 3, 8, 9), (0, 1, 8, 9)),
        (patches(4), (0, 3, 8, 9), (0, 1, 8, 9)),
        (rectangle, (0, 3, 8, 9), (0, 1, 8, 9)),
    ],
)
def test_shapes(mask, inputs, expected):
    found = mask(torch.zeros(inputs), generator())
    assert found.dtype == torch.bool
    assert found.shape == expected


@pytest.mark.parametrize("mask", [patches(2), rectangle])
def test_masks_of_images_refuse_flat_inputs(mask):
    with pytest.raises(ConfigError, match=r"collage of .*expected images \(B, C, H, W\); received .*\(7, 30\).*pixels"):
        mask(torch.zeros(7, 30), generator())


@pytest.mark.parametrize("size", [0, -1])
def test_patches_have_pixels(size):
    with pytest.raises(ConfigError, match="patches of a collage: expected 1 pixel or more"):
        patches(size)


@pytest.mark.parametrize("shape", [(3000, 800), (3000, 2, 20, 40)], ids=["flat", "image"])
def test_the_share_of_pixels_is_even_from_0_to_1(shape):
    share = pixels(torch.zeros(shape), generator()).flatten(1).double().mean(1).numpy()
    assert kstest(share, "uniform").pvalue > 0.01
    assert share.min() < 0.01
    assert share.max() > 0.98


def test_pixels_are_drawn_one_by_one_and_each_as_often():
    """Of a sample with share r the pixels are independent: their number varies as r (1 - r), not with neighbours."""
    mask = pixels(torch.zeros(4000, 64), generator(1)).numpy()
    assert chisquare(mask.sum(0)).pvalue > 0.01
    first, second = mask[:, :32].mean(1), mask[:, 32:].mean(1)  # two estimates of the same share
    expected = (1 / 2 - 1 / 3) * 2 / 32  # E[r (1 - r)] / 32 from each half
    assert ((first - second) ** 2).mean() == pytest.approx(expected, rel=0.1)
    neighbours = (mask[:, 1:] == mask[:, :-1]).mean()
    assert neighbours == pytest.approx(2 / 3, abs=0.01)  # E[r² + (1 - r)²]


def test_samples_have_shares_of_their_own():
    share = pixels(torch.zeros(2000, 400), generator(2)).double().mean(1).numpy()
    assert abs(np.corrcoef(share[:-1], share[1:])[0, 1]) < 0.06


@pytest.mark.parametrize(("size", "height", "width"), [(4, 8, 12), (3, 8, 10), (1, 4, 4), (50, 8, 10)])
def test_patches_are_blocks(size, height, width):
    mask = patches(size)(torch.zeros(300, 3, height, width), generator())[:, 0].numpy()
    corners = mask[:, ::size, ::size]
    rows, columns = np.arange(height) // size, np.arange(width) // size
    assert (mask == corners[:, rows][:, :, columns]).all()
    assert len(np.unique(corners.reshape(300, -1), axis=0)) > 1
    if corners[0].size > 1:
        assert any(block.any() and not block.all() for block in corners)


def test_the_share_of_patches_is_even_from_0_to_1():
    share = patches(2)(torch.zeros(3000, 1, 40, 40), generator()).flatten(1).double().mean(1).numpy()
    assert kstest(share, "uniform").pvalue > 0.01


@pytest.mark.parametrize(("height", "width"), [(8, 8), (10, 6)])
def test_a_rectangle_is_one(height, width):
    mask = rectangle(torch.zeros(500, 3, height, width), generator())[:, 0].numpy()
    for image in mask:
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        assert image.sum() == len(rows) * len(columns)  # the product of two sets
        for found in (rows, columns):
            assert not len(found) or (np.diff(found) == 1).all()  # of two intervals


def test_the_area_and_place_of_rectangles_are_those_of_cutmix():
    """Sides √r of the image's around a centre drawn evenly, cut off at the border.

    A side s covers s - s²/4 of the image on average over its centre, so with r uniform on [0, 1]
    E[area] = ∫ (√r - r/4)² dr = 1/2 - 1/5 + 1/48.
    """
    mask = rectangle(torch.zeros(20000, 1, 40, 25), generator())[:, 0].double().numpy()
    area = mask.mean((1, 2))
    assert area.mean() == pytest.approx(1 / 2 - 1 / 5 + 1 / 48, abs=4 * area.std() / np.sqrt(len(area)))
    often = mask.mean(0)
    assert np.abs(often - often[::-1]).max() < 0.03
    assert np.abs(often - often[:, ::-1]).max() < 0.03
    y, x, r = (np.arange(40) + 0.5) / 40, (np.arange(25) + 0.5) / 25, (np.arange(2000) + 0.5) / 2000

    def covered(c):  # the share of centres within half a side of the place c, for each r
        half = np.sqrt(r) / 2
        return np.minimum(1, c[:, None] + half) - np.maximum(0, c[:, None] - half)

    np.testing.assert_allclose(often, covered(y) @ covered(x).T / len(r), atol=0.02)


@pytest.mark.parametrize("mask", [pixels, patches(2), patches(3), rectangle])
def test_draws_come_from_the_generator_alone(mask):
    x, state = torch.zeros(9, 3, 8, 8), torch.random.get_rng_state()
    one, same, other = (mask(x, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(state, torch.random.get_rng_state())
