"""The samples of one experience, held as tensors and shared with the other experiences of the stream."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

Change = Callable[[Tensor, Tensor], None]
"""change(base, out) writes every sample of base (N, ...), as this experience shows it, into out (N, ...)."""


class Workspace:
    """One buffer that the experiences of a stream take turns to fill, so that a stream is not stored many times."""

    def __init__(self) -> None:
        self._buffer: Tensor | None = None
        self._owner: object = None

    def fill(self, owner: object, base: Tensor, change: Change) -> Tensor:
        """The samples as `owner` shows them, (N, ...); computed only if another experience was here since."""
        if self._buffer is None or self._buffer.shape != base.shape:
            self._buffer, self._owner = torch.empty_like(base, memory_format=torch.contiguous_format), None
        if self._owner is not owner:
            change(base, self._buffer)
            self._owner = owner
        return self._buffer

    def __getstate__(self) -> dict[str, None]:
        return {"_buffer": None, "_owner": None}  # what it holds can be computed again


class TensorExperience(Dataset[tuple[Tensor, int]]):
    """A map-style data set of (raw sample, label) that a resident loader reads as whole tensors.

    Args:
        base: raw samples (N, ...), shared by all experiences of the stream.
        targets: labels of the rows of `base`, (N,), int64.
        rows: which rows of `base` belong to the experience, (M,), int64; None means all.
        change: what the experience does to every sample, if it does (a permutation, a rotation).
        workspace: where changed samples are kept; shared by the experiences of a stream.
    """

    def __init__(
        self,
        base: Tensor,
        targets: Tensor,
        *,
        rows: Tensor | None = None,
        change: Change | None = None,
        workspace: Workspace | None = None,
    ) -> None:
        self.base = base
        self.rows = rows
        self.change = change
        self.workspace = workspace or Workspace()
        self.targets = targets if rows is None else targets[rows]

    def raw(self) -> Tensor:
        """The base samples as this experience shows them, (N, ...); valid until another experience asks for its own."""
        return self.base if self.change is None else self.workspace.fill(self, self.base, self.change)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        index = range(len(self))[index]  # raises IndexError past the end, which ends an iteration
        row = index if self.rows is None else int(self.rows[index])
        sample = self.base[row : row + 1]
        if self.change is not None:
            changed = torch.empty_like(sample, memory_format=torch.contiguous_format)
            self.change(sample, changed)
            sample = changed
        return sample[0], int(self.targets[index])


class Permutation:
    """The same shuffling of pixels for every sample.

    Args:
        order: pixel i of the result is pixel order[i] of the sample, (D,), int64.
    """

    def __init__(self, order: Tensor) -> None:
        self.order = order

    def __call__(self, base: Tensor, out: Tensor) -> None:
        """Write base (N, ...) with its pixels in `order` into out (N, ...)."""
        flat, result = base.flatten(1).numpy(), out.view(len(out), -1).numpy()
        np.take(flat, self.order.numpy(), axis=1, out=result, mode="clip")  # 5 to 9 times torch.index_select


class Rotation:
    """A rotation of square images about their centre, nearest pixel.

    Args:
        degrees: counter-clockwise.
    """

    def __init__(self, degrees: float) -> None:
        self.degrees = degrees

    def __call__(self, base: Tensor, out: Tensor) -> None:
        """Write base (N, C, H, W) rotated into out."""
        from torchvision.transforms.functional import rotate

        for chunk, target in zip(torch.split(base, 10_000), torch.split(out, 10_000), strict=True):
            target.copy_(rotate(chunk, self.degrees))
