"""Augmented views that can be made again, sample by sample."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ckd.data.experience import TensorExperience
from ckd.data.preparation import RANDOM, Preparation
from ckd.errors import ConfigError

PIECE = 1000
"""Samples whose augmentation is drawn together; part of what a view is."""


class FixedViews:
    """So many augmented views of the same samples, bit by bit the same in every epoch, order, batch and process.

    View v of all samples is drawn at once with the seed (seed, v), so it does not matter which samples share a batch
    afterwards. The view that was asked for last is kept, as raw samples; going through them view by view is fast.

    Args:
        samples: raw (N, ...), or an experience that holds them.
        preparation: raw samples to network inputs, such as `arrays.prepare_train`.
        views: how many.
        seed: of the augmentation.

    Raises:
        ConfigError: fewer than one view, or several of a preparation that draws nothing.

    Example:
        >>> from ckd.data.preparation import RandomFlip, Scale
        >>> images = torch.arange(24, dtype=torch.uint8).reshape(2, 1, 3, 4)
        >>> views = FixedViews(images, Preparation((RandomFlip(), Scale())), views=3)
        >>> views.inputs(2, torch.tensor([1, 0])).shape, sum(len(x) for x in views.batches())
        (torch.Size([2, 1, 3, 4]), 6)
    """

    def __init__(
        self, samples: Tensor | TensorExperience, preparation: Preparation, *, views: int = 1, seed: int = 0
    ) -> None:
        if views < 1 or (views > 1 and not preparation.random):
            expected = "1 or more" if views < 1 else "1, as the preparation draws nothing"
            raise ConfigError("views", expected=expected, received=views, fix="Leave them out for one.")
        if isinstance(samples, TensorExperience):
            raw = samples.raw()
            samples = raw.clone() if samples.rows is None else raw[samples.rows]
        steps = preparation.steps
        last = max((i + 1 for i, step in enumerate(steps) if isinstance(step, RANDOM)), default=0)
        self._drawn, self._same = Preparation(steps[:last]), Preparation(steps[last:])
        self._raw, self.views, self.seed = samples, views, seed
        self._last: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        """How many samples."""
        return len(self._raw)

    def inputs(self, view: int, rows: Tensor | None = None) -> Tensor:
        """Network inputs (B, ...) for the samples at `rows` (B,), or all, in a view from 0.

        Raises:
            ConfigError: a view that is not there.
        """
        if not 0 <= view < self.views:
            fix = "Use epoch % views."
            raise ConfigError("view", expected=f"0 to {self.views - 1}", received=view, fix=fix)
        shown = self._view(view)
        return self._same(shown if rows is None else shown[rows])

    def batches(self, batch_size: int = 500) -> Iterator[Tensor]:
        """Network inputs of every sample in every view, in batches, for `write_soft_labels`."""
        for view in range(self.views):
            for rows in torch.split(torch.arange(len(self)), batch_size):
                yield self.inputs(view, rows)

    def _view(self, view: int) -> Tensor:
        """The raw samples (N, ...) after what is drawn."""
        if not self._drawn.steps:
            return self._raw
        if self._last is None or self._last[0] != view:
            generator = torch.Generator().manual_seed(_seed(self.seed, view))
            pieces = [self._drawn(piece, generator) for piece in torch.split(self._raw, PIECE)]
            self._last = view, torch.cat(pieces)
        return self._last[1]


def _seed(seed: int, view: int) -> int:
    """32 bits of both numbers, as torch's generator on the CPU looks at no more of a seed."""
    return int(np.random.SeedSequence(seed % 2**64, spawn_key=(view,)).generate_state(1)[0])
