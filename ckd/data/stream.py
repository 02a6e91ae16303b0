"""A stream: experiences in order, for training and for testing, with what turns samples into inputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ckd.data.arrays import Arrays
from ckd.data.experience import TensorExperience
from ckd.data.preparation import Preparation


@dataclass(frozen=True)
class TensorStream:
    """What a benchmark holds as tensors.

    Attributes:
        train: the training experiences, in order.
        test: the test experiences, as many.
        n_classes: classes over the whole stream.
        input_shape: shape of one network input.
        prepare_train: raw samples to inputs, with augmentation.
        prepare_test: the same without.
        vocabulary: ids that the inputs are made of; 0 for inputs that are no token ids.
    """

    train: tuple[TensorExperience, ...]
    test: tuple[TensorExperience, ...]
    n_classes: int
    input_shape: tuple[int, ...]
    prepare_train: Preparation
    prepare_test: Preparation
    vocabulary: int = 0

    def tensors(self, which: Literal["train", "test"] = "train") -> Iterator[tuple[Tensor, Tensor]]:
        """Network inputs (N, ...), without augmentation, and labels (N,) of each experience."""
        for experience in self.train if which == "train" else self.test:
            raw = experience.raw() if experience.rows is None else experience.raw().index_select(0, experience.rows)
            inputs = self.prepare_test(raw)
            kept = experience.change is None or inputs.data_ptr() != raw.data_ptr()  # changed samples share a buffer
            yield inputs if kept else inputs.clone(), experience.targets


def stream_of(arrays: Arrays, train: list[TensorExperience], test: list[TensorExperience]) -> TensorStream:
    """The stream of these experiences, cut from `arrays`."""
    return TensorStream(
        tuple(train),
        tuple(test),
        arrays.n_classes,
        arrays.input_shape,
        arrays.prepare_train,
        arrays.prepare,
        arrays.vocabulary,
    )
