"""MNIST through torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ckd.data.arrays import Arrays
from ckd.data.preparation import Preparation, Scale
from ckd.data.sources.root import load_or_download


def mnist(data_root: str | Path | None = None) -> Arrays:
    """MNIST as uint8 (N, 1, 28, 28), divided by 255 and not normalised further, as the published numbers were made.

    Raises:
        DataError: the files are not under `data_root` and cannot be downloaded to it.
    """
    from torchvision.datasets import MNIST

    def load(root: Path, download: bool) -> tuple[Any, Any]:
        return MNIST(root, train=True, download=download), MNIST(root, train=False)

    train, test = load_or_download("MNIST", data_root, load)
    prepare = Preparation((Scale(255.0),))
    return Arrays(train.data[:, None], train.targets.long(), test.data[:, None], test.targets.long(), prepare)
