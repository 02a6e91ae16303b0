"""Mixup: weighted sums of two samples. Zhang et al. 2018, arXiv:1710.09412, with λ uniform (α = 1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from ckd.objective import Batch
from ckd.views.partners import Partners, same_experience


@dataclass(frozen=True)
class Mixup:
    """A view: λ x + (1 - λ) x' with λ drawn for every sample. Labels stay the first's, stored logits are dropped."""

    mixes: ClassVar[bool] = True

    partners: Partners = same_experience

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The batch with mixed inputs."""
        share = torch.rand(len(batch.inputs), *[1] * (batch.inputs.dim() - 1), generator=generator)
        other = batch.inputs[self.partners(batch, generator)]
        return replace(
            batch, inputs=torch.lerp(other, batch.inputs, share.to(batch.inputs, non_blocking=True)), logits=None
        )
