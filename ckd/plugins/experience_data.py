"""The samples of the experience that a strategy has just learnt, as rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ckd.classes import ClassSet
from ckd.data.resident_loader import ResidentLoader
from ckd.rows import Rows


def rows_of(strategy: Any, raw: bool, experience: int) -> Iterator[Rows]:
    """The experience's own samples, in order, as they would be remembered.

    Args:
        strategy: an Avalanche strategy, at the end of a training experience.
        raw: whether samples are remembered untransformed, which needs a resident loader.
        experience: the index to note with each.
    """
    for samples, targets, *others in _raw(strategy.dataloader) if raw else _served(strategy):
        yield as_rows(samples, targets, others[-1] if others else None, experience)


def as_rows(stored: Tensor, targets: Tensor, tasks: Tensor | None, experience: int) -> Rows:
    """A mini-batch as rows."""
    return Rows(
        stored, targets, torch.zeros_like(targets) if tasks is None else tasks, torch.full_like(targets, experience)
    )


def of_classes(rows: Rows, classes: ClassSet) -> Rows:
    """Without samples of other classes, which are another plugin's replay."""
    wanted = torch.isin(rows.targets, torch.tensor(classes.indices, device=rows.targets.device))
    return rows if wanted.all() else rows.take(wanted.nonzero().flatten())


def _raw(loader: ResidentLoader) -> Iterator[list[torch.Tensor]]:
    data = loader.sources[loader.ends].data  # the experience ends the epoch; the rest is another plugin's replay
    for index in torch.split(torch.arange(len(data), device=data.columns[0].device), 500):
        samples, columns = data.take(index)
        yield [samples, *columns]


def _served(strategy: Any) -> Iterator[list[torch.Tensor]]:
    dataset = strategy.experience.dataset.eval()
    with torch.random.fork_rng(devices=[]):
        yield from DataLoader(dataset, batch_size=500, collate_fn=dataset.collate_fn)
