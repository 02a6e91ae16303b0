"""scikit-learn's digits: 1,797 grey images of 8 x 8 pixels, embedded in the package, no network needed."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from ckd.data.arrays import Arrays
from ckd.data.preparation import Preparation, Scale


def digits() -> Arrays:
    """The digits as uint8 (N, 1, 8, 8) with values 0 to 16; every fifth image of a class is for testing."""
    x, y = _all()
    test = torch.zeros(len(y), dtype=torch.bool)
    for c in range(10):
        test[(y == c).nonzero()[::5, 0]] = True
    return Arrays(x[~test], y[~test], x[test], y[test], Preparation((Scale(16.0),)))


@functools.cache
def _all() -> tuple[Tensor, Tensor]:
    """Images and labels, read from their text once."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return torch.from_numpy(bunch.images).to(torch.uint8)[:, None], torch.from_numpy(bunch.target).long()
