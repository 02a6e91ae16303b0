"""CIFAR-10 and CIFAR-100 through torchvision; CIFAR-100 also from one npz file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ckd.data.arrays import Arrays
from ckd.data.preparation import Normalise, Preparation, RandomCrop, RandomFlip, Scale
from ckd.data.sources.npz import npz
from ckd.data.sources.root import load_or_download, resolve
from ckd.errors import DataError

AUGMENT = (RandomCrop(4), RandomFlip(0.5))
CIFAR10 = Normalise((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
CIFAR100 = Normalise((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))


def cifar10(data_root: str | Path | None = None) -> Arrays:
    """CIFAR-10 as uint8 (N, 3, 32, 32); cropped and flipped in training, normalised by channel.

    Raises:
        DataError: the files are not under `data_root` and cannot be downloaded to it.
    """
    from torchvision.datasets import CIFAR10 as Dataset

    return _from_torchvision("CIFAR-10", Dataset, data_root, CIFAR10)


def cifar100(data_root: str | Path | None = None) -> Arrays:
    """CIFAR-100 as uint8 (N, 3, 32, 32), from `cifar100.npz` under the root if it is there, else torchvision's.

    Raises:
        DataError: the files are not under `data_root` and cannot be downloaded to it.
    """
    from torchvision.datasets import CIFAR100 as Dataset

    file = resolve(data_root) / "cifar100.npz"
    if not file.exists():
        return _from_torchvision("CIFAR-100", Dataset, data_root, CIFAR100)
    found = npz(file)
    if found.x_train.dtype != torch.uint8 or found.x_train.shape[1:] != (3, 32, 32):
        received = f"{found.x_train.dtype} of shape {tuple(found.x_train.shape)}"
        fix = "Write the published images to it, or remove it: the files of torchvision are then used."
        raise DataError(f"file {file}", expected="uint8 images of 3 x 32 x 32", received=received, fix=fix)
    return replace(found, prepare=_preparation(CIFAR100), augment=AUGMENT)


def _from_torchvision(name: str, dataset: Any, data_root: str | Path | None, normalise: Normalise) -> Arrays:
    from torchvision.datasets.utils import check_integrity

    def load(root: Path, download: bool) -> tuple[Any, Any]:
        try:
            return dataset(root, train=True, download=download), dataset(root, train=False)
        except RuntimeError as error:
            every, folder = (*dataset.train_list, *dataset.test_list), root / dataset.base_folder
            if download:
                raise
            bad = [file for file, md5 in every if not check_integrity(str(folder / file), md5)]
            raise RuntimeError(f"missing or not as published: {', '.join(bad)} in {folder}") from error

    train, test = load_or_download(name, data_root, load)
    return _arrays(train.data, train.targets, test.data, test.targets, normalise)


def _arrays(x_train: Any, y_train: Any, x_test: Any, y_test: Any, normalise: Normalise) -> Arrays:
    images = [torch.from_numpy(np.asarray(x)).permute(0, 3, 1, 2).contiguous() for x in (x_train, x_test)]
    labels = [torch.as_tensor(np.asarray(y)).long() for y in (y_train, y_test)]
    return Arrays(images[0], labels[0], images[1], labels[1], _preparation(normalise), AUGMENT)


def _preparation(normalise: Normalise) -> Preparation:
    return Preparation((Scale(255.0), normalise))
