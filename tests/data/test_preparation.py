"""Preparation against torchvision, and augmentation against a loop over the samples."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision import transforms as tv

from ckd.data.preparation import Normalise, PerSample, Preparation, RandomCrop, RandomFlip, Scale

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
RANDOM_STEPS = [RandomCrop(2), RandomFlip(0.5)]
EVERY_RANDOM_STEP = pytest.mark.parametrize("step", RANDOM_STEPS, ids=lambda s: type(s).__name__)


def images(n=12, channels=3, height=6, width=5, seed=0):
    """Raw images (n, channels, height, width), uint8, none of them like its mirror image."""
    g = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, channels, height, width), generator=g, dtype=torch.uint8)


def generator(seed=7):
    return torch.Generator().manual_seed(seed)


def one_by_one(transform, x):
    """The transform of torchvision on each image (H, W, C) of x (N, C, H, W)."""
    return torch.stack([transform(np.ascontiguousarray(image.permute(1, 2, 0).numpy())) for image in x])


@pytest.mark.parametrize("channels", [1, 3])
def test_scale_is_torchvisions_to_tensor(channels):
    x = images(channels=channels)
    assert torch.equal(Scale()(x, None), one_by_one(tv.ToTensor(), x))


def test_scale_and_normalise_are_torchvisions_to_tensor_and_normalize():
    x = images()
    ours = Preparation((Scale(255.0), Normalise(MEAN, STD)))
    assert torch.equal(ours(x), one_by_one(tv.Compose([tv.ToTensor(), tv.Normalize(MEAN, STD)]), x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normalise_keeps_the_dtype(dtype):
    x = images().to(dtype)
    assert Normalise(MEAN, STD)(x, None).dtype == dtype


@pytest.mark.parametrize(
    ("step", "dtype"),
    [
        (Scale(), torch.uint8),
        (Scale(), torch.float32),
        (Normalise(MEAN, STD), torch.float32),
        *((step, dtype) for step in RANDOM_STEPS for dtype in (torch.uint8, torch.float32)),
    ],
)
def test_no_step_changes_the_samples_it_is_given(step, dtype):
    x = images().to(dtype)
    before = x.clone()
    step(x, generator())
    assert torch.equal(x, before)


def cropped(x, padding, corners):
    """The crops of x (N, C, H, W), a sample at a time; corners (2, N) are top and left in the padded image."""
    _, _, h, w = x.shape
    padded = F.pad(x, (padding, padding, padding, padding))
    return torch.stack(
        [image[:, top : top + h, left : left + w] for image, top, left in zip(padded, *corners.tolist(), strict=True)]
    )


def test_random_crop_is_the_crop_of_each_sample_at_its_own_corner():
    x = images(n=30)
    corners = torch.randint(5, (2, 30), generator=generator())
    assert torch.equal(RandomCrop(2)(x, generator()), cropped(x, 2, corners))


def test_random_crop_reaches_every_shift_and_nothing_else():
    x = images(n=1).expand(800, -1, -1, -1)
    shifts = [torch.tensor([[top], [left]]) for top in range(5) for left in range(5)]
    possible = torch.cat([cropped(x[:1], 2, shift) for shift in shifts])  # (25, C, H, W)
    crops = RandomCrop(2)(x, generator())
    matches = (crops[:, None] == possible[None]).flatten(2).all(2)  # (800, 25)
    assert (matches.sum(1) == 1).all()
    assert (matches.sum(0) > 0).all()


def test_random_crop_without_padding_changes_nothing():
    assert torch.equal(RandomCrop(0)(images(), None), images())


def test_random_flip_mirrors_each_sample_that_was_drawn():
    x = images(n=30)
    drawn = torch.rand(30, generator=generator()) < 0.3
    expected = np.stack([i[:, :, ::-1] if flip else i for i, flip in zip(x.numpy(), drawn.tolist(), strict=True)])
    assert np.array_equal(RandomFlip(0.3)(x, generator()).numpy(), expected)


def test_random_flip_mirrors_the_share_that_was_asked_for():
    x = images(n=1).expand(4000, -1, -1, -1)
    mirrored = (RandomFlip(0.25)(x, generator()) != x).flatten(1).any(1)
    assert mirrored.double().mean().item() == pytest.approx(0.25, abs=0.035)  # 5 standard errors


@pytest.mark.parametrize(("p", "expected"), [(0.0, images()), (1.0, images().flip(-1))])
def test_random_flip_is_certain_at_the_ends(p, expected):
    assert torch.equal(RandomFlip(p)(images(), generator()), expected)


@EVERY_RANDOM_STEP
def test_equal_samples_are_drawn_for_apart(step):
    x = images(n=1).expand(50, -1, -1, -1)
    assert len(step(x, generator()).unique(dim=0)) > 1


@EVERY_RANDOM_STEP
def test_a_given_generator_decides_and_the_global_one_is_left_alone(step):
    before = torch.get_rng_state()
    first, again, other = step(images(), generator(1)), step(images(), generator(1)), step(images(), generator(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@EVERY_RANDOM_STEP
def test_without_a_generator_the_global_one_decides(step):
    with torch.random.fork_rng():
        torch.manual_seed(7)
        drawn = step(images(), None)
    assert torch.equal(drawn, step(images(), generator(7)))


def test_a_preparation_takes_its_steps_in_order():
    steps = (RandomCrop(2), RandomFlip(), Scale(), Normalise(MEAN, STD))
    g, x = generator(), images()
    for step in steps:
        x = step(x, g)
    assert torch.equal(Preparation(steps)(images(), generator()), x)


def test_an_empty_preparation_gives_what_it_gets():
    x = images()
    assert Preparation()(x) is x


@pytest.mark.parametrize(
    ("steps", "random"),
    [((), False), ((Scale(), Normalise(MEAN, STD)), False), ((RandomCrop(4), Scale()), True), ((RandomFlip(),), True)],
)
def test_a_preparation_knows_whether_it_is_random(steps, random):
    assert Preparation(steps).random is random


def test_preparations_of_equal_steps_are_equal():
    def make(divisor=255.0):
        return Preparation((RandomCrop(4), RandomFlip(0.5), Scale(divisor), Normalise(MEAN, STD)))

    assert make() == make()
    assert hash(make()) == hash(make())
    assert make() != make(16.0)
    assert make() != Preparation(make().steps[1:])


def test_per_sample_is_the_batch_version_of_one():
    transform = PerSample(Preparation((Scale(), Normalise(MEAN, STD))))
    batch = transform.preparation(images())
    assert all(torch.equal(transform(image), row) for image, row in zip(images(), batch, strict=True))


def test_the_deterministic_one_leaves_out_what_is_drawn():
    steps = (RandomCrop(2), Scale(), RandomFlip(), Normalise(MEAN, STD))
    assert Preparation(steps).deterministic == Preparation((Scale(), Normalise(MEAN, STD)))
    assert not Preparation(steps).deterministic.random
    assert Preparation((Scale(),)).deterministic == Preparation((Scale(),))
