"""A random part of each image, brought back to its size. Szegedy et al. 2015, arXiv:1409.4842, section 6."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch.nn import functional as F

from ckd.errors import ConfigError
from ckd.objective.batch import Batch


@dataclass(frozen=True)
class RandomResizedCrop:
    """A view: a rectangle of each image (B, C, H, W), with bilinear interpolation; other samples are as they are.

    What was stored or is known of the samples stays with them. Everything is drawn for each image alone, and crop and
    flip are one resampling.

    Args:
        min_scale: the rectangle's share of the image is uniform from this to 1.
        flip: probability of mirroring left and right; 0 where it would change a label, as with digits.
        ratio: the rectangle is up to so many times as wide as high, or as high as wide, relative to the image.

    Raises:
        ConfigError: a number outside its range.
    """

    min_scale: float = 0.2
    flip: float = 0.5
    ratio: float = 4 / 3

    def __post_init__(self) -> None:
        for name, value, fits, expected in (
            ("smallest share", self.min_scale, 0 < self.min_scale <= 1, "above 0, up to 1"),
            ("flip", self.flip, 0 <= self.flip <= 1, "from 0 to 1"),
            ("ratio", self.ratio, self.ratio >= 1, "1 or more"),
        ):
            if not fits:
                fix = "Leave it out for the usual."
                raise ConfigError(f"{name} of the crop", expected=expected, received=value, fix=fix)

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The batch with cropped images."""
        if batch.inputs.dim() != 4:
            return batch
        scale, ratio, left, top, flip = torch.rand(5, len(batch.inputs), generator=generator)
        area, stretch = torch.lerp(torch.tensor(self.min_scale), torch.tensor(1.0), scale), self.ratio ** (ratio - 0.5)
        width, height = (area.sqrt() * stretch).clamp(max=1), (area.sqrt() / stretch).clamp(max=1)
        mirror = 1 - 2 * (flip < self.flip).float()
        zero = torch.zeros_like(width)
        # from places in the result to places in the image, both from -1 to 1
        x = torch.stack([mirror * width, zero, (1 - width) * (2 * left - 1)], 1)
        y = torch.stack([zero, height, (1 - height) * (2 * top - 1)], 1)
        places = torch.stack([x, y], 1).to(batch.inputs, non_blocking=True)  # (B, 2, 3)
        grid = F.affine_grid(places, list(batch.inputs.shape), align_corners=False)
        cropped = F.grid_sample(batch.inputs, grid, padding_mode="border", align_corners=False)
        return replace(batch, inputs=cropped)
