"""Which pixels of a sample come from its partner: functions of the inputs that return a mask, True for the partner's.

The ratio is drawn for every sample, evenly from 0 to 1. Draws are made on the CPU with the generator given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ckd.errors import ConfigError

Mask = Callable[[Tensor, torch.Generator], Tensor]
"""(inputs (B, ...), generator) -> bool, broadcastable to the inputs"""


def pixels(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Each pixel on its own (all channels of an image together), each feature of a flat sample."""
    shape = (len(inputs), 1, *inputs.shape[2:]) if inputs.dim() == 4 else inputs.shape
    return _below_ratio(shape, generator).to(inputs.device, non_blocking=True)


@dataclass(frozen=True)
class patches:
    """Squares of `size` pixels, each on its own, of images (B, C, H, W)."""

    size: int = 4

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError("patches of a collage", expected="1 pixel or more", received=self.size, fix="Try 4.")

    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Bool (B, 1, H, W)."""
        height, width = _image_shape(inputs, "patches")
        grid = _below_ratio((len(inputs), 1, -(-height // self.size), -(-width // self.size)), generator)
        mask = grid.repeat_interleave(self.size, 2).repeat_interleave(self.size, 3)
        return mask[..., :height, :width].to(inputs.device, non_blocking=True)


def rectangle(inputs: Tensor, generator: torch.Generator) -> Tensor:
    """One rectangle of each image (B, C, H, W), as CutMix draws it (Yun et al. 2019, arXiv:1905.04899)."""
    height, width = _image_shape(inputs, "a rectangle")
    ratio, y, x = torch.rand(3, len(inputs), 1, generator=generator).unbind(0)
    half = ratio.sqrt() / 2
    rows = ((torch.arange(height) + 0.5) / height - y).abs() < half  # (B, H)
    columns = ((torch.arange(width) + 0.5) / width - x).abs() < half  # (B, W)
    return (rows[:, None, :, None] & columns[:, None, None, :]).to(inputs.device, non_blocking=True)


def _below_ratio(shape: tuple[int, ...] | torch.Size, generator: torch.Generator) -> Tensor:
    """Random bytes (B, ...) below a ratio drawn for each row: 8 bytes from one number, as drawing is what costs."""
    count = torch.Size(shape).numel()
    words = torch.randint(-(2**63), 2**63 - 1, (-(-count // 8),), generator=generator)
    ratio = torch.randint(0, 256, (shape[0], *[1] * (len(shape) - 1)), generator=generator, dtype=torch.uint8)
    drawn: Tensor = words.view(torch.uint8)[:count].view(shape)
    return drawn < ratio


def _image_shape(inputs: Tensor, who: str) -> tuple[int, int]:
    if inputs.dim() != 4:
        raise ConfigError(
            f"collage of {who}",
            expected="images (B, C, H, W)",
            received=f"inputs of shape {tuple(inputs.shape)}",
            fix="Use mask=pixels.",
        )
    return inputs.shape[2], inputs.shape[3]
