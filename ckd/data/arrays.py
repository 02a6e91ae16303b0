"""Labelled samples as tensors, checked once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ckd.data.preparation import Preparation, PreparationStep, Scale
from ckd.errors import ConfigError, DataError


@dataclass(frozen=True)
class Arrays:
    """A data set before it is made into a stream.

    Attributes:
        x_train, x_test: raw samples (N, ...), images as (N, C, H, W); uint8 or floating.
        y_train, y_test: labels (N,), int64, from 0.
        prepare: raw samples to network inputs.
        augment: steps before `prepare`, in training only.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    prepare: Preparation
    augment: tuple[PreparationStep, ...] = ()

    @property
    def n_classes(self) -> int:
        """Classes, counted by the highest training label."""
        return int(self.y_train.max()) + 1

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one network input."""
        return tuple(self.prepare(self.x_train[:1])[0].shape)

    @property
    def prepare_train(self) -> Preparation:
        """Augmentation and preparation."""
        return Preparation((*self.augment, *self.prepare.steps))

    def holding_out(self, fraction: float = 0.1, seed: int = 0) -> Arrays:
        """The same with a part of the training data in the place of the test data, for choosing settings.

        Every class gives the same fraction; the test data is not in the result at all.
        """
        if not 0 < fraction < 1:
            raise ConfigError("validation fraction", expected="between 0 and 1", received=fraction, fix="Use 0.1.")
        shuffled = torch.randperm(len(self.y_train), generator=torch.Generator().manual_seed(seed))
        held = torch.zeros(len(self.y_train), dtype=torch.bool)
        for c in range(self.n_classes):
            members = shuffled[self.y_train[shuffled] == c]
            held[members[: max(1, round(fraction * len(members)))]] = True
        kept = ~held
        return replace(
            self,
            x_train=self.x_train[kept],
            y_train=self.y_train[kept],
            x_test=self.x_train[held],
            y_test=self.y_train[held],
        )


def arrays(x_train: Any, y_train: Any, x_test: Any, y_test: Any) -> Arrays:
    """Your own data, as numpy arrays or tensors.

    Args:
        x_train, x_test: samples (N, features), grey images (N, H, W), or colour images (N, C, H, W) or
            (N, H, W, C). uint8 is divided by 255; floating values are taken as they are.
        y_train, y_test: integer labels (N,), classes numbered from 0.

    Raises:
        DataError: lengths that differ, labels that are not whole numbers from 0, samples that are not numbers,
            shapes of training and test samples that differ.
    """
    xs = [_samples("x_train", x_train), _samples("x_test", x_test)]
    ys = [_labels("y_train", y_train), _labels("y_test", y_test)]
    for name, x, y in zip(("train", "test"), xs, ys, strict=True):
        if len(x) != len(y) or not len(x):
            raise DataError(
                f"x_{name} and y_{name}",
                expected="as many samples as labels, at least one",
                received=f"{len(x)} samples and {len(y)} labels",
                fix="Check that the arrays were cut alike.",
            )
    if xs[0].shape[1:] != xs[1].shape[1:] or xs[0].dtype != xs[1].dtype:
        raise DataError(
            "x_test",
            expected=f"samples of {tuple(xs[0].shape[1:])} {xs[0].dtype}, as in x_train",
            received=f"samples of {tuple(xs[1].shape[1:])} {xs[1].dtype}",
            fix="Prepare both alike.",
        )
    if int(ys[1].max()) > int(ys[0].max()):
        raise DataError(
            "y_test",
            expected=f"labels up to {int(ys[0].max())}, the highest in y_train",
            received=f"a label {int(ys[1].max())}",
            fix="Remove test samples of classes that are never taught.",
        )
    prepare = Preparation((Scale(255.0),)) if xs[0].dtype == torch.uint8 else Preparation()
    return Arrays(xs[0], ys[0], xs[1], ys[1], prepare)


def _samples(name: str, values: Any) -> Tensor:
    x = values if isinstance(values, Tensor) else torch.from_numpy(np.ascontiguousarray(values))
    if x.dim() < 2 or not (x.dtype == torch.uint8 or x.is_floating_point()):
        raise DataError(
            name,
            expected="uint8 or floating samples of at least 2 dimensions",
            received=f"{x.dtype} of shape {tuple(x.shape)}",
            fix="Convert with .astype('uint8') or .astype('float32'); reshape to (N, features).",
        )
    if x.dim() == 3:
        x = x[:, None]
    elif x.dim() == 4 and x.shape[-1] in (1, 3) and x.shape[1] not in (1, 3):
        x = x.permute(0, 3, 1, 2)
    return (x.float() if x.is_floating_point() else x).contiguous()


def _labels(name: str, values: Any) -> Tensor:
    y = torch.as_tensor(np.asarray(values)).flatten()
    whole = not y.is_floating_point() or bool((y == y.round()).all())
    if not whole or (len(y) and int(y.min()) < 0):
        received = f"{y.dtype}, lowest {y.min().item() if len(y) else None}"
        raise DataError(
            name,
            expected="whole numbers from 0",
            received=received,
            fix="Number the classes 0, 1, 2, ... (sklearn.preprocessing.LabelEncoder does).",
        )
    return y.long()
