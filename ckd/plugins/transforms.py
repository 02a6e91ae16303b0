"""Transforms of torchvision and Avalanche as steps that work on a whole batch, and what is done once before them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from avalanche.benchmarks.classic.cmnist import PixelsPermutation
from avalanche.benchmarks.utils.transforms import MultiParamCompose, TupleTransform
from torchvision import transforms as tv

from ckd.data.experience import Permutation, Rotation
from ckd.data.preparation import Normalise, PerSample, PreparationStep, RandomCrop, RandomFlip, Scale

FixedChange = Permutation | Rotation
"""The same change of the pixels for every sample; an experience has its own."""


class NotResidentError(Exception):
    """Why a data set or loader cannot be served from tensors."""


@dataclass(frozen=True)
class Transforms:
    """What happens to a sample on its way out of a data set: batched steps for the input, functions of the label."""

    steps: tuple[PreparationStep | FixedChange, ...] = ()
    relabel: tuple[Callable[[int], int], ...] = ()

    def then(self, later: Transforms) -> Transforms:
        """These, followed by `later`."""
        return Transforms((*self.steps, *later.steps), (*self.relabel, *later.relabel))

    def changes_first(self, *, pil: bool) -> tuple[tuple[FixedChange, ...], tuple[PreparationStep, ...]]:
        """The same as changes of the raw samples, made once, and steps for every batch.

        Experiences that differ in their changes alone then share their steps, and so one memory.

        Args:
            pil: whether the samples are PIL images before they are scaled.

        Raises:
            NotResidentError: a change follows a step whose result depends on where a pixel is.
        """
        changes: list[FixedChange] = []
        steps: list[PreparationStep] = []
        for step in self.steps:
            if not isinstance(step, Permutation | Rotation):
                steps.append(step)
                continue
            late = next((earlier for earlier in steps if not _exchangeable(step, earlier)), None)
            if late is not None:
                raise NotResidentError(
                    f"its {type(step).__name__} follows a {type(late).__name__}, with which it cannot be exchanged"
                )
            if pil and isinstance(step, Rotation) and not steps:
                raise NotResidentError("it rotates PIL images, which gives other pixels than rotating tensors")
            changes.append(step)
        return tuple(changes), tuple(steps)


def _exchangeable(change: FixedChange, step: PreparationStep) -> bool:
    """Whether the change gives the same, bit for bit, before the step as after it."""
    match step:
        case Scale():
            return True
        case Normalise(mean=(_,), std=(_,)):  # each channel alike
            return isinstance(change, Permutation)  # a rotation fills with zeros
    return False


def transforms_of(transform: Any) -> Transforms:
    """A transform as batched steps and functions of the label.

    Raises:
        NotResidentError: it is not known.
    """
    match transform:
        case None:
            return Transforms()
        case PerSample(preparation):
            return Transforms(preparation.steps)
        case tv.Compose(transforms=parts) | MultiParamCompose(transforms=parts):
            return functools.reduce(Transforms.then, map(transforms_of, parts), Transforms())
        case TupleTransform(transforms=[of_input, *of_label]) if not any(of_label[1:]):
            return transforms_of(of_input).then(Transforms((), tuple(f for f in of_label if f is not None)))
        case tv.ToTensor():
            return Transforms((Scale(255.0),))
        case tv.Normalize(mean=mean, std=std):
            return Transforms((Normalise(tuple(map(float, mean)), tuple(map(float, std))),))
        case tv.RandomHorizontalFlip(p=p):
            return Transforms((RandomFlip(p),))
        case tv.RandomCrop(padding=int(padding), fill=0, padding_mode="constant"):
            return Transforms((RandomCrop(padding),))
        case PixelsPermutation(permutation=order):
            return Transforms((Permutation(torch.as_tensor(order)),))
        case tv.RandomRotation(
            degrees=[low, high], interpolation=tv.InterpolationMode.NEAREST, expand=False, center=None, fill=0
        ) if low == high:
            return Transforms((Rotation(torch.tensor(low, dtype=torch.float32).item()),))  # as torchvision draws it
    raise NotResidentError(f"it is transformed by {transform}, which has no batched counterpart here")
