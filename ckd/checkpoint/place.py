"""The place within an epoch: the same order is drawn again, and the batches that were learnt are passed over."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from ckd.checkpoint.folder import CheckpointError


def pass_over(batches: Iterator[Any], done: int, last: int | None) -> None:
    """Take `done` batches and throw them away.

    Args:
        batches: of an epoch whose order was drawn as it was then.
        done: how many were learnt.
        last: `labels_of` the last of them; None if that is not known.

    Raises:
        CheckpointError: fewer batches, or another one: the data or their order are no longer the same.
    """
    batch: Any = None
    for _ in range(done):
        batch = next(batches, None)
        if batch is None:
            raise _changed("fewer batches")
    if done and last is not None and labels_of(batch) != last:
        raise _changed("others")


def labels_of(batch: Any) -> int | None:
    """A checksum over the int64 tensors of a batch, its labels for one; None where there are none."""
    parts = batch.values() if isinstance(batch, dict) else batch if isinstance(batch, list | tuple) else [batch]
    whole = [part for part in parts if isinstance(part, Tensor) and part.dtype == torch.int64]
    content = b"".join(part.detach().cpu().contiguous().numpy().tobytes() for part in whole)
    return zlib.crc32(content) if whole else None


class Rest:
    """The batches of an epoch that are left, in the place of a loader whose order is drawn when it is iterated.

    Args:
        loader: whose batches they are.
        done, last: see `pass_over`.
        then: called when those are passed over, before the next is served.
    """

    def __init__(self, loader: Iterable[Any], done: int, last: int | None, then: Callable[[], None]) -> None:
        self.loader, self._done, self._last, self._then = loader, done, last, then

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.loader)
        pass_over(batches, self._done, self._last)
        self._then()
        yield from batches


def own_generators(loader: Any) -> list[torch.Generator]:
    """The generators that a torch DataLoader was given, which are no global ones."""
    batches = getattr(loader, "batch_sampler", None)
    parts = [loader, getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None)]
    given = [getattr(part, "generator", None) for part in parts]
    return list({id(one): one for one in given if isinstance(one, torch.Generator)}.values())


def _changed(received: str) -> CheckpointError:
    return CheckpointError(
        "batches of the epoch under way",
        expected="those that were learnt before, in the same order",
        received=received,
        fix="Use the data, batch size and loader of that run, or remove its checkpoints to start again.",
    )
