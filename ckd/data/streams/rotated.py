"""Rotated streams: every experience turns the images by an angle of its own; the classes stay.

Lopez-Paz & Ranzato 2017, arXiv:1706.08840; angles uniform in [0, 180) degrees as in Buzzega et al. 2020.
"""

from __future__ import annotations

import torch

from ckd.data.arrays import Arrays
from ckd.data.experience import Rotation
from ckd.data.stream import TensorStream
from ckd.data.streams.changed import changed, check_count
from ckd.errors import DataError


def rotated(arrays: Arrays, n_experiences: int, seed: int = 0) -> TensorStream:
    """`n_experiences` random angles, drawn from a generator seeded with `seed`.

    Raises:
        ConfigError: no experience.
        DataError: samples that are not images.
    """
    check_count(n_experiences)
    if arrays.x_train.dim() != 4:
        raise DataError(
            "samples to rotate",
            expected="images (N, C, H, W)",
            received=f"samples of shape {tuple(arrays.x_train.shape)}",
            fix="Use permuted, which needs no images.",
        )
    generator = torch.Generator().manual_seed(seed)
    degrees = torch.rand(n_experiences, generator=generator, dtype=torch.float64) * 180
    return changed(arrays, [Rotation(float(d)) for d in degrees])
