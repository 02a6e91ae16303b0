"""Class-incremental streams: each experience brings classes of its own, in ascending or in random order."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ckd.data.arrays import Arrays
from ckd.data.experience import TensorExperience
from ckd.data.stream import TensorStream, stream_of
from ckd.errors import ConfigError, DataError


def split(arrays: Arrays, n_experiences: int, seed: int = 0) -> TensorStream:
    """The classes in ascending order, in `n_experiences` equal groups.

    Args:
        arrays: the data.
        n_experiences: must divide the number of classes.
        seed: unused, since the order is fixed; here so that all streams are built alike.

    Raises:
        ConfigError: a number of experiences that does not divide the number of classes.
        DataError: an experience without training or test samples.
    """
    if n_experiences < 1 or arrays.n_classes % n_experiences:
        raise ConfigError(
            "number of experiences",
            expected=f"a divisor of {arrays.n_classes}, the number of classes",
            received=n_experiences,
            fix=f"Use {' or '.join(str(n) for n in range(1, arrays.n_classes + 1) if arrays.n_classes % n == 0)}.",
        )
    per_experience = arrays.n_classes // n_experiences
    return stream_of(
        arrays,
        [_cut(arrays.x_train, arrays.y_train, i, per_experience) for i in range(n_experiences)],
        [_cut(arrays.x_test, arrays.y_test, i, per_experience) for i in range(n_experiences)],
    )


def shuffled(arrays: Arrays, n_experiences: int, seed: int = 0) -> TensorStream:
    """The classes in a random order, in `n_experiences` equal groups.

    Labels count in that order, as in Avalanche's `class_ids_from_zero_from_first_exp`: the first experience of ten
    classes brings 0 to 9, whichever they are. Many results are published as means over such orders.

    Args:
        arrays: the data.
        n_experiences: must divide the number of classes.
        seed: of the order; the same one for every method that is compared.

    Raises:
        ConfigError: a number of experiences that does not divide the number of classes.
        DataError: an experience without training or test samples.
    """
    place = torch.randperm(arrays.n_classes, generator=torch.Generator().manual_seed(seed))
    return split(replace(arrays, y_train=place[arrays.y_train], y_test=place[arrays.y_test]), n_experiences)


def _cut(x: Tensor, y: Tensor, i: int, per_experience: int) -> TensorExperience:
    rows = (torch.div(y, per_experience, rounding_mode="floor") == i).nonzero()[:, 0]
    if not len(rows):
        raise DataError(
            f"experience {i}",
            expected=f"samples of the classes {i * per_experience} to {(i + 1) * per_experience - 1}",
            received=f"none among the labels {sorted(set(y.tolist()))}",
            fix="Cut training and test data by class (sklearn's train_test_split with stratify does).",
        )
    return TensorExperience(x, y, rows=rows)
