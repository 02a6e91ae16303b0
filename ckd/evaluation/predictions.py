"""What a network predicted for every test sample after every experience, compact, for metrics to be computed later.

Six numbers a sample and evaluation: the predicted class among all and among the tested experience's own, the log
probability of the first, that of the label minus it, the sum of squared probabilities, and, once for all, the label.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ckd.errors import DataError
from ckd.evaluation.accuracy_matrix import AccuracyMatrix
from ckd.npz import opened

VERSION = 1


@dataclass(frozen=True)
class Predictions:
    """Predictions for N test samples of T experiences, one experience after the other, at R evaluations.

    Attributes:
        labels: class of each sample (N,).
        sizes: samples of each test experience (T,).
        trained: experiences trained on before each evaluation (R,), rising; 0 is the untrained network.
        evaluated: which test experiences were evaluated (R, T). What was not is 0 below.
        predicted: most probable class (R, N).
        among_known: most probable among the classes of the sample's own experience (R, N).
        log_confidence: log probability of the predicted class (R, N), float16, in nats.
        log_ratio: log probability of the label minus `log_confidence` (R, N), float16; 0 where the prediction is right
            and -inf where the network has no output for the label.
        squares: sum over classes of squared probabilities (R, N), float16.
    """

    labels: NDArray[Any]
    sizes: NDArray[Any]
    trained: NDArray[Any]
    evaluated: NDArray[np.bool_]
    predicted: NDArray[Any]
    among_known: NDArray[Any]
    log_confidence: NDArray[np.float16]
    log_ratio: NDArray[np.float16]
    squares: NDArray[np.float16]

    def __post_init__(self) -> None:
        samples, evaluations = (len(self.trained), len(self.labels)), (len(self.trained), len(self.sizes))
        wide = (self.predicted, self.among_known, self.log_confidence, self.log_ratio, self.squares)
        whole = (self.labels, self.sizes, self.trained, self.predicted, self.among_known)
        if (
            any(found.dtype.kind not in "iu" for found in whole)
            or self.evaluated.dtype != np.bool_
            or any(found.dtype.kind != "f" for found in wide[2:])
            or self.evaluated.shape != evaluations
            or not len(self.trained)
            or bool((np.diff(self.trained.astype(np.int64)) <= 0).any())
            or bool((self.sizes < 0).any())
            or int(self.sizes.sum()) != len(self.labels)
            or any(found.shape != samples for found in wide)
        ):
            raise DataError(
                "predictions",
                expected=f"{samples} predictions of {evaluations} evaluated experiences",
                received=", ".join(str(found.shape) for found in wide),
                fix="Train again.",
            )

    def of_experience(self, j: int) -> slice:
        """Where the samples of test experience `j` are."""
        ends = np.cumsum(self.sizes)
        return slice(int(ends[j] - self.sizes[j]), int(ends[j]))

    def accuracies(self, *, among_known: bool = False) -> NDArray[np.float64]:
        """Accuracy of each evaluation on each test experience (R, T); NaN where there was none."""
        right = (self.among_known if among_known else self.predicted) == self.labels
        return self.means(right)

    def means(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Mean of `values` (R, N) over the samples of each test experience (R, T); NaN where nothing was evaluated."""
        starts = np.cumsum(self.sizes) - self.sizes
        found = np.add.reduceat(values.astype(np.float64), starts, axis=1) / self.sizes
        return np.where(self.evaluated, found, np.nan)

    def matrix(self, *, among_known: bool = False) -> AccuracyMatrix:
        """The accuracy matrix that these predictions give."""
        rows = self.accuracies(among_known=among_known)
        untrained = rows[0] if self.trained[0] == 0 else None
        return AccuracyMatrix(rows[self.trained > 0], untrained)

    def save(self, file: Path) -> None:
        """Write a compressed .npz of these arrays, whole or not at all."""
        part = file.with_suffix(f".{os.getpid()}.part")
        try:
            with part.open("wb") as written:
                arrays = {field.name: getattr(self, field.name) for field in fields(self)}
                np.savez_compressed(written, version=np.array(VERSION), **arrays)
            os.replace(part, file)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def load(cls, file: Path) -> Predictions:
        """What `save` wrote.

        Raises:
            DataError: not a file of this version; nothing in it is ever unpickled.
        """
        fix = "Remove it; metrics that need it are then left out."
        with opened(file, "predictions", expected="a file that a run has written", fix=fix) as found:
            if int(found["version"]) > VERSION:
                raise ValueError(f"version {int(found['version'])}, newer than {VERSION}")
            return cls(**{field.name: found[field.name] for field in fields(cls)})


@torch.no_grad()
def read(logits: Tensor, labels: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """What is kept of logits (B, C) for labels (B,), where the tested experience has the classes `known` (K,).

    Returns:
        Classes (2, B), int64: predicted among all and among the known, -1 where none of these has an output. And
        numbers (3, B), float32: log confidence, log ratio and squares, as in `Predictions`.
    """
    width = logits.shape[1]
    log_p = logits.float().log_softmax(1)
    classes = predicted(logits, labels, known)
    confidence = log_p.gather(1, classes[0][:, None])[:, 0]
    of_label = log_p.gather(1, labels.clamp(max=width - 1)[:, None])[:, 0]
    ratio = torch.where(labels < width, of_label - confidence, -torch.inf)
    return classes, torch.stack([confidence, ratio, log_p.exp().square().sum(1)])


@torch.no_grad()
def predicted(logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    """Classes (2, B): the most probable among all and among the known, -1 where none of these has an output."""
    known = known[known < logits.shape[1]]  # a head may not have grown to all of them yet
    among = known[logits.index_select(1, known).argmax(1)] if len(known) else torch.full_like(labels, -1)
    return torch.stack([logits.argmax(1), among])


@dataclass(frozen=True)
class Kept:
    """What is kept of one evaluation of one test experience: labels (B,), classes (2, B), numbers (3, B)."""

    labels: NDArray[Any]
    classes: NDArray[Any]
    numbers: NDArray[np.float16]

    @classmethod
    def of(cls, labels: Tensor, classes: Tensor, numbers: Tensor) -> Kept:
        """From what `read` returned, in the smallest types that hold it."""
        return cls(_small(labels), _small(classes), numbers.cpu().numpy().astype(np.float16))

    def tensors(self) -> list[Tensor]:
        """The same as tensors of the same types."""
        return [torch.from_numpy(array) for array in (self.labels, self.classes, self.numbers)]

    @classmethod
    def of_tensors(cls, tensors: Sequence[Tensor]) -> Kept:
        """From what `tensors` returned."""
        labels, classes, numbers = (tensor.numpy() for tensor in tensors)
        return cls(labels, classes, numbers)


def gather(rows: Mapping[int, Mapping[int, Kept]]) -> Predictions:
    """Put together what was kept after so many experiences of each test experience, `rows[trained][experience]`."""
    labels = {j: kept.labels for row in rows.values() for j, kept in row.items()}
    trained, experiences = sorted(rows), range(max(labels) + 1)
    absent = np.zeros(0, np.uint8)
    sizes = [len(labels.get(j, absent)) for j in experiences]

    def lines(name: str, k: int) -> NDArray[Any]:
        """Line `k` of so called arrays (R, N), zeros where nothing was evaluated."""
        found = [
            np.concatenate(
                [getattr(row[j], name)[k] if j in row else np.zeros(sizes[j], np.uint8) for j in experiences]
            )
            for row in (rows[i] for i in trained)
        ]
        return np.stack(found)

    return Predictions(
        np.concatenate([labels.get(j, absent) for j in experiences]),
        np.array(sizes),
        np.array(trained),
        np.array([[j in rows[i] for j in experiences] for i in trained]),
        lines("classes", 0),
        lines("classes", 1),
        lines("numbers", 0).astype(np.float16),
        lines("numbers", 1).astype(np.float16),
        lines("numbers", 2).astype(np.float16),
    )


def _small(values: Tensor) -> NDArray[Any]:
    found = values.cpu().numpy()
    least, most = (int(found.min()), int(found.max())) if found.size else (0, 0)
    return found.astype(np.promote_types(np.min_scalar_type(least), np.min_scalar_type(most)))
