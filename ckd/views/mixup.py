"""Mixup: weighted sums of two samples. Zhang et al. 2018, arXiv:1710.09412, with λ uniform (α = 1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from ckd.errors import ConfigError
from ckd.objective.batch import Batch
from ckd.views.partners import Partners, same_experience


@dataclass(frozen=True)
class Mixup:
    """A view: λ x + (1 - λ) x' with λ drawn for every sample; stored logits are dropped.

    Args:
        partners: which sample x' is.
        labels: mix the labels too, so that the target `labels` gives λ y + (1 - λ) y' as probabilities. Without it
            labels stay the first's, and only a teacher can be the target.

    Raises:
        ConfigError: labels to be mixed where there is one for each place of a sample.
    """

    mixes: ClassVar[bool] = True

    partners: Partners = same_experience
    labels: bool = False

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The batch with mixed inputs."""
        share = torch.rand(len(batch.inputs), *[1] * (batch.inputs.dim() - 1), generator=generator)
        share = share.to(batch.inputs, non_blocking=True)
        partner = self.partners(batch, generator)
        mixed = replace(batch, inputs=torch.lerp(batch.inputs[partner], batch.inputs, share), logits=None)
        if not self.labels:
            return mixed
        if batch.targets.dim() != 1:
            expected, received = "one label for each sample, (B,)", f"labels of shape {tuple(batch.targets.shape)}"
            fix = "Leave labels=True out, and take a teacher as target."
            raise ConfigError("mixup of labels", expected=expected, received=received, fix=fix)
        labels, shares = batch.mixed_labels, batch.mixed_shares
        if labels is None or shares is None:  # no view before this one mixed them
            labels, shares = batch.targets[:, None], torch.ones_like(share.view(-1, 1))
        own = share.view(-1, 1)
        return replace(
            mixed,
            mixed_labels=torch.cat([labels, labels[partner]], 1),
            mixed_shares=torch.cat([own * shares, (1 - own) * shares[partner]], 1),
        )
