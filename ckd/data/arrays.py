"""Labelled samples as tensors, checked once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ckd.data.preparation import Preparation, PreparationStep, Scale
from ckd.errors import ConfigError, DataError


@dataclass(frozen=True)
class Arrays:
    """A data set before it is made into a stream.

    Attributes:
        x_train, x_test: raw samples (N, ...), images as (N, C, H, W), uint8 or floating; or token ids (N, T), int64.
        y_train, y_test: labels (N,), int64, from 0.
        prepare: raw samples to network inputs.
        augment: steps before `prepare`, in training only.
        vocabulary: how many token ids there are, padding among them; 0 for samples that are no token ids.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    prepare: Preparation
    augment: tuple[PreparationStep, ...] = ()
    vocabulary: int = 0

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

    def limited(self, per_class: int, seed: int = 0) -> Arrays:
        """The same with at most `per_class` training samples of each class, chosen at random.

        Raises:
            ConfigError: fewer than one.
        """
        if per_class < 1:
            raise ConfigError(
                "samples per class", expected="1 or more", received=per_class, fix="Leave it out for all."
            )
        shuffled = torch.randperm(len(self.y_train), generator=torch.Generator().manual_seed(seed))
        kept = torch.cat([shuffled[self.y_train[shuffled] == c][:per_class] for c in range(self.n_classes)])
        kept = kept.sort().values
        return replace(self, x_train=self.x_train[kept], y_train=self.y_train[kept])

    def holding_out(self, fraction: float = 0.1, seed: int = 0) -> Arrays:
        """The same with a part of the training data in the place of the test data, for choosing settings.

        Every class gives the same fraction, one of a single sample nothing; the test data is not in the result at all.

        Raises:
            ConfigError: a fraction that is none.
            DataError: no class with two samples.
        """
        if not 0 < fraction < 1:
            raise ConfigError("validation fraction", expected="between 0 and 1", received=fraction, fix="Use 0.1.")
        shuffled = torch.randperm(len(self.y_train), generator=torch.Generator().manual_seed(seed))
        held = torch.zeros(len(self.y_train), dtype=torch.bool)
        for c in range(self.n_classes):
            members = shuffled[self.y_train[shuffled] == c]
            held[members[: min(max(1, round(fraction * len(members))), len(members) - 1)]] = True
        if not held.any():
            expected, fix = "a class with two training samples or more", "Leave validation out, or add samples."
            raise DataError("validation data", expected=expected, received="one sample of each class", fix=fix)
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
            (N, H, W, C), where C is 1, 3 or 4. uint8 is divided by 255; floating values are taken as they are, so
            standardise them.
        y_train, y_test: integer labels (N,), classes numbered from 0.

    Raises:
        DataError: lengths that differ, labels that are not whole numbers from 0 without a gap, samples that are not
            finite numbers, shapes of training and test samples that differ.
    """
    xs = [_samples("x_train", x_train), _samples("x_test", x_test)]
    ys = labels_of("y_train", y_train), labels_of("y_test", y_test)
    check_labels((len(xs[0]), len(xs[1])), ys)
    if xs[0].shape[1:] != xs[1].shape[1:] or xs[0].dtype != xs[1].dtype:
        raise DataError(
            "x_test",
            expected=f"samples of {tuple(xs[0].shape[1:])} {xs[0].dtype}, as in x_train",
            received=f"samples of {tuple(xs[1].shape[1:])} {xs[1].dtype}",
            fix="Prepare both alike.",
        )
    prepare = Preparation((Scale(255.0),)) if xs[0].dtype == torch.uint8 else Preparation()
    return Arrays(xs[0], ys[0], xs[1], ys[1], prepare)


def check_labels(samples: tuple[int, int], labels: tuple[Tensor, Tensor]) -> None:
    """Raise unless labels (N,) fit so many training and test samples, and no class is missing in training.

    Raises:
        DataError: they do not.
    """
    for name, n, y in zip(("train", "test"), samples, labels, strict=True):
        if n != len(y) or not n:
            raise DataError(
                f"x_{name} and y_{name}",
                expected="as many samples as labels, at least one",
                received=f"{n} samples and {len(y)} labels",
                fix="Check that the arrays were cut alike.",
            )
    taught, tested = (torch.unique(y) for y in labels)
    if len(taught) <= int(taught[-1]):
        gap = next(c for c, label in enumerate(taught.tolist()) if c != label)
        raise DataError(
            "y_train",
            expected=f"every class from 0 to {int(taught[-1])}",
            received=f"no sample of class {gap}",
            fix="Number the classes 0, 1, 2, ... (sklearn.preprocessing.LabelEncoder does).",
        )
    if int(tested[-1]) > int(taught[-1]):
        raise DataError(
            "y_test",
            expected=f"labels up to {int(taught[-1])}, the highest in y_train",
            received=f"a label {int(tested[-1])}",
            fix="Remove test samples of classes that are never taught.",
        )


def _samples(name: str, values: Any) -> Tensor:
    found = _array(name, values)
    if (
        found.ndim < 2
        or 0 in found.shape[1:]
        or not (found.dtype == np.uint8 or np.issubdtype(found.dtype, np.floating))
    ):
        raise DataError(
            name,
            expected="uint8 or floating samples of at least 2 dimensions",
            received=f"{found.dtype} of shape {tuple(found.shape)}",
            fix="Convert with .astype('uint8') or .astype('float32'); reshape to (N, features).",
        )
    if found.dtype != np.uint8:
        with np.errstate(over="ignore"):
            found = found.astype(np.float32, copy=False)
    found = np.require(found, requirements=("C", "W"))
    x = torch.from_numpy(found.copy() if min(found.strides) < 0 else found)  # of one sample, any stride is contiguous
    if x.is_floating_point() and not bool(x.isfinite().all()):
        bad = int((~x.flatten(1).isfinite().all(1)).nonzero()[0, 0])
        raise DataError(
            name,
            expected="finite numbers, as float32",
            received=f"NaN or infinity in sample {bad}",
            fix="Fill the gaps or leave these samples out; scale numbers beyond 3e38.",
        )
    if x.dim() == 3:
        x = x[:, None]
    elif x.dim() == 4 and x.shape[1] not in (1, 3) and (x.shape[-1] in (1, 3) or x.shape[1] != x.shape[-1] == 4):
        x = x.permute(0, 3, 1, 2)
    return x.contiguous()


def labels_of(name: str, values: Any) -> Tensor:
    """Labels (N,) as int64.

    Raises:
        DataError: what is no whole number from 0.
    """
    y = _array(name, values)
    numbers = np.issubdtype(y.dtype, np.number) and not np.issubdtype(y.dtype, np.complexfloating)
    whole = numbers and bool((np.isfinite(y) & (y == np.round(y))).all())
    flat = y.size == max(y.shape, default=1)
    if not whole or not flat or (y.size and not 0 <= float(y.min()) <= float(y.max()) < 2**63):
        told = f" of shape {y.shape}" if not flat else ""
        if numbers and y.size:
            told += f", lowest {y.min()}, highest {y.max()}"
        raise DataError(
            name,
            expected="whole numbers from 0, one for each sample",
            received=f"{y.dtype}{told}",
            fix="Number the classes 0, 1, 2, ... (sklearn.preprocessing.LabelEncoder does).",
        )
    return torch.from_numpy(y.ravel().astype(np.int64))


def _array(name: str, values: Any) -> NDArray[Any]:
    """What was given, as numpy has it.

    Raises:
        DataError: rows of different lengths, a tensor that is sparse, quantised or without values, hidden entries.
    """
    try:
        if isinstance(values, Tensor):
            plain = values.detach().cpu()
            return np.asarray(plain.float() if plain.is_floating_point() and plain.element_size() < 4 else plain)
        if not np.ma.is_masked(values):
            return np.asarray(values)
        received = "a masked array"
    except (ValueError, TypeError, RuntimeError) as error:
        received = str(error).split("\n")[0][:200]
    fix = "Give it a dense array, as numpy.stack makes of samples of one shape."
    raise DataError(name, expected="a whole array of numbers", received=received, fix=fix)
