"""Views of single samples, and several views one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ckd.errors import ConfigError
from ckd.objective.batch import Batch, View


@dataclass(frozen=True)
class Augmented:
    """A step such as `ckd.data.preparation.RandomCrop(4)` for images, drawn anew for this term alone.

    What was stored or is known of the samples stays with them, so that stored logits can be matched on another view.
    """

    step: Callable[[Tensor, torch.Generator], Tensor]

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The batch with augmented inputs."""
        return replace(batch, inputs=self.step(batch.inputs, generator))


@dataclass(frozen=True)
class Noise:
    """Adds normal noise with standard deviation `std`, in the units of the network's inputs."""

    std: float = 0.1

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The batch with noisy inputs."""
        noise = torch.randn(batch.inputs.shape, generator=generator).to(batch.inputs, non_blocking=True)
        return replace(batch, inputs=batch.inputs + self.std * noise)


@dataclass(frozen=True)
class Chain:
    """Several views in order, as in Chain((Augmented(RandomFlip()), Collage()))."""

    views: tuple[View, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.views, tuple) or not all(map(callable, self.views)):
            fix = "Use Chain((Noise(0.1), Collage()))."
            raise ConfigError("chain", expected="a tuple of views", received=repr(self.views), fix=fix)

    @property
    def mixes(self) -> bool:
        """Whether one of them mixes samples."""
        return any(getattr(view, "mixes", False) for view in self.views)

    @property
    def labels(self) -> bool:
        """Whether each of them that mixes samples mixes their labels too."""
        return all(getattr(view, "labels", False) for view in self.views if getattr(view, "mixes", False))

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The batch after all of them."""
        for view in self.views:
            batch = view(batch, generator)
        return batch
