"""Permuted streams: every experience shuffles the pixels in its own way; the classes stay.

Goodfellow et al. 2013, arXiv:1312.6211; as in Buzzega et al. 2020 every experience, the first too, is permuted.
"""

from __future__ import annotations

import math

import torch

from ckd.data.arrays import Arrays
from ckd.data.experience import Permutation
from ckd.data.stream import TensorStream
from ckd.data.streams.changed import changed, check_count


def permuted(arrays: Arrays, n_experiences: int, seed: int = 0) -> TensorStream:
    """`n_experiences` random permutations of the pixels, drawn from a generator seeded with `seed`."""
    check_count(n_experiences)
    pixels = math.prod(arrays.x_train.shape[1:])
    generator = torch.Generator().manual_seed(seed)
    return changed(arrays, [Permutation(torch.randperm(pixels, generator=generator)) for _ in range(n_experiences)])
