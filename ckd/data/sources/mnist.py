"""MNIST through torchvision."""

from __future__ import annotations

import hashlib
from pathlib import Path

from torch import Tensor

from ckd.data.arrays import Arrays
from ckd.data.preparation import Preparation, Scale
from ckd.data.sources.root import load_or_download

CHECKSUMS = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""SHA-256 of the files as they are published, unpacked; torchvision checks them when it downloads, and never again."""


def mnist(data_root: str | Path | None = None) -> Arrays:
    """MNIST as uint8 (N, 1, 28, 28), divided by 255 and not normalised further, as the published numbers were made.

    Raises:
        DataError: the files are not under `data_root` and cannot be downloaded to it, or are not those published.
    """
    x_train, y_train, x_test, y_test = load_or_download("MNIST", data_root, _load)
    prepare = Preparation((Scale(255.0),))
    return Arrays(x_train[:, None], y_train.long(), x_test[:, None], y_test.long(), prepare)


def _load(root: Path, download: bool) -> list[Tensor]:
    from torchvision.datasets import MNIST
    from torchvision.datasets.mnist import read_image_file, read_label_file

    if download:
        type("MNIST", (MNIST,), {"_check_legacy_exist": lambda _: False})(root, download=True)  # which is a pickle
    raw = root / "MNIST" / "raw"
    missing = [name for name in CHECKSUMS if not (raw / name).exists()]
    if missing:
        raise RuntimeError(f"no {', '.join(missing)} in {raw}")
    for name, published in CHECKSUMS.items():
        if hashlib.sha256((raw / name).read_bytes()).hexdigest() != published:
            raise ValueError(f"{name} is not the file that was published")
    return [(read_image_file if "images" in name else read_label_file)(str(raw / name)) for name in CHECKSUMS]
