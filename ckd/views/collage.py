"""Collages: each pixel of a sample from one of several remembered samples.

A teacher gives soft targets for any input, not only for those that were stored: a few samples of a task make an
endless transfer set near it. Distillation on mixed samples is older (by mixup of a few images: Active Mixup,
arXiv:2003.13960; in continual learning: Re-MKD, arXiv:2301.05180), and so are masks that cut samples apart (CutMix,
arXiv:1905.04899; FMix, arXiv:2002.12047).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from ckd.errors import ConfigError
from ckd.objective.batch import Batch
from ckd.views.masks import Mask, pixels
from ckd.views.partners import Partners, same_experience


@dataclass(frozen=True)
class Collage:
    """A view that replaces part of each sample by its partners'.

    The label stays that of the first sample and stored logits are dropped: the target of a collage is a teacher's.

    Args:
        of: how many samples make one collage, 2 or more.
        mask: which pixels come from the partner.
        partners: who that is.

    Raises:
        ConfigError: fewer than 2 samples.
    """

    mixes: ClassVar[bool] = True

    of: int = 2
    mask: Mask = pixels
    partners: Partners = same_experience

    def __post_init__(self) -> None:
        if not isinstance(self.of, int) or self.of < 2:
            raise ConfigError("collage", expected="2 samples or more", received=self.of, fix="Use no view for one.")

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The batch with mixed inputs."""
        mixed = batch.inputs
        for _ in range(self.of - 1):
            other = batch.inputs[self.partners(batch, generator)]
            mixed = torch.where(self.mask(mixed, generator), other, mixed)
        return replace(batch, inputs=mixed, logits=None)
