"""From stored samples to network inputs: steps that work on a whole batch, augmentation drawn for each sample.

torchvision's batched transforms draw once for the whole batch and from the global generator, so crop and flip are
our own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class PreparationStep(Protocol):
    """One step; equal steps do the same thing."""

    def __call__(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Samples (B, ...) to samples (B, ...); draws come from the CPU `generator`, None the global one."""
        ...


@dataclass(frozen=True)
class Scale:
    """To float32, divided by `divisor` (255 for uint8 images, as torchvision's ToTensor)."""

    divisor: float = 255.0

    def __call__(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """(x / divisor) as float32."""
        scaled = x.to(torch.float32)
        return scaled / self.divisor if scaled is x else scaled.div_(self.divisor)


@dataclass(frozen=True)
class Normalise:
    """Subtract the mean and divide by the standard deviation of each channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """(x - mean) / std for floating x (B, C, H, W)."""
        moments = torch.tensor([self.mean, self.std], dtype=x.dtype).to(x.device, non_blocking=True)
        mean, std = moments.view(2, -1, 1, 1)
        return x.sub(mean).div_(std)


@dataclass(frozen=True)
class RandomCrop:
    """Pad each side with zeros and crop back to the old size, at a place drawn for every sample."""

    padding: int = 4

    def __call__(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Shift each image of x (B, C, H, W) by up to `padding` pixels."""
        b, _, h, w = x.shape
        p = self.padding
        windows = F.pad(x, (p, p, p, p)).unfold(2, h, 1).unfold(3, w, 1)  # (B, C, 2p+1, 2p+1, H, W), a view
        corner = torch.randint(2 * p + 1, (2, b), generator=generator).to(x.device, non_blocking=True)
        return windows[torch.arange(b, device=x.device), :, corner[0], corner[1]]


@dataclass(frozen=True)
class RandomFlip:
    """Mirror left and right with probability `p`, drawn for every sample."""

    p: float = 0.5

    def __call__(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Flip some images of x (B, C, H, W)."""
        flipped = (torch.rand(len(x), generator=generator) < self.p).to(x.device, non_blocking=True)
        return torch.where(flipped[:, None, None, None], x.flip(-1), x)


RANDOM = (RandomCrop, RandomFlip)


@dataclass(frozen=True)
class Preparation:
    """Steps, in order, for a whole batch; `PerSample` makes it a transform for one sample of a data set."""

    steps: tuple[PreparationStep, ...] = ()

    def __call__(self, raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Network inputs (B, ...) for raw samples (B, ...)."""
        for step in self.steps:
            raw = step(raw, generator)
        return raw

    @property
    def deterministic(self) -> Preparation:
        """The same without what is drawn anew at each call."""
        return Preparation(tuple(step for step in self.steps if not isinstance(step, RANDOM)))

    @property
    def random(self) -> bool:
        """Whether two calls may differ."""
        return any(isinstance(step, RANDOM) for step in self.steps)

    @property
    def text(self) -> str:
        """Its steps as text, the same in every process."""
        return re.sub(r" at 0x[0-9a-f]+", "", repr(self))


@dataclass(frozen=True)
class PerSample:
    """A preparation as a torchvision-style transform: one raw sample to one input, with the global generator."""

    preparation: Preparation

    def __call__(self, raw: Tensor) -> Tensor:
        """The input for one raw sample (...)."""
        return self.preparation(raw[None])[0]
