"""A data loader over resident tensors that draws what torch's DataLoader and Avalanche's samplers would draw."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ckd.data.preparation import Preparation
from ckd.data.resident import Resident


@dataclass(frozen=True)
class Source:
    """One data set and its share of every mini-batch."""

    data: Resident
    batch_size: int


class ResidentLoader:
    """Mini-batches [inputs, labels, further columns], gathered by index.

    The global generator is used exactly as by the loader that this one replaces: a base seed at the start of an
    epoch, then a seed for each shuffled data set when its first index is needed (`DataLoader`, `RandomSampler`).
    Several data sets are interleaved as Avalanche's `MultiDatasetSampler` does: the one that ends the epoch is drawn
    first, the smaller ones are cycled if `oversample`, else left out once they are used up.

    Args:
        sources: the data sets; all with the same preparation.
        shuffle: whether each is permuted in every epoch.
        drop_last: whether an incomplete last batch is left out.
        ends: which source ends the epoch.
        oversample: whether the others are cycled.
        generator: for augmentation.
        passes: how many times in a row each batch is served, augmented anew, as online protocols do.
    """

    def __init__(
        self,
        sources: list[Source],
        *,
        shuffle: bool,
        drop_last: bool,
        ends: int,
        oversample: bool,
        generator: torch.Generator,
        passes: int = 1,
    ) -> None:
        self.sources, self.passes = sources, passes
        self.shuffle, self.drop_last = shuffle, drop_last
        self.ends, self.oversample = ends, oversample
        self.generator = generator
        self._served: tuple[Tensor, Tensor] | None = None

    @property
    def preparation(self) -> Preparation:
        """From raw samples to network inputs."""
        return self.sources[0].data.preparation

    def __len__(self) -> int:
        source = self.sources[self.ends]
        n = len(source.data)
        return self.passes * (n // source.batch_size if self.drop_last else -(-n // source.batch_size))

    def __iter__(self) -> Iterator[list[Tensor]]:
        torch.empty((), dtype=torch.int64).random_()  # DataLoader draws a base seed for workers, even for none
        orders: list[Iterator[Tensor] | None] = [self._order(source) for source in self.sources]
        others = [i for i, source in enumerate(self.sources) if i != self.ends and len(source.data)]
        while True:
            drawn: dict[int, Tensor] = {}
            for i in (self.ends, *others):
                index = self._next(orders, i)
                if index is not None:
                    drawn[i] = index
                elif i == self.ends:
                    return
            for _ in range(self.passes):
                yield self.batch([(i, drawn[i]) for i in sorted(drawn)])

    def batch(self, drawn: list[tuple[int, Tensor]]) -> list[Tensor]:
        """The mini-batch of these (source, index) pairs."""
        if len(drawn) == 1:
            ((i, index),) = drawn
            raw, only = self.sources[i].data.take(index)
            return [self._prepared(raw), *only]
        taken = [self.sources[i].data.take(index) for i, index in drawn]
        raw = torch.cat([samples for samples, _ in taken])
        columns = zip(*(columns for _, columns in taken), strict=True)
        return [self._prepared(raw), *map(torch.cat, columns)]

    def _prepared(self, raw: Tensor) -> Tensor:
        inputs = self.preparation(raw, self.generator)
        self._served = raw, inputs
        return inputs

    def raw_of(self, inputs: Tensor) -> Tensor | None:
        """The raw samples behind `inputs`; None unless they are those of the batch that was served last."""
        return self._served[0] if self._served is not None and self._served[1] is inputs else None

    def _next(self, orders: list[Iterator[Tensor] | None], i: int) -> Tensor | None:
        order = orders[i]
        if order is None:
            return None
        index = next(order, None)
        if index is None and i != self.ends and self.oversample:
            orders[i] = order = self._order(self.sources[i])
            index = next(order)
        if index is None:
            orders[i] = None
        return index

    def _order(self, source: Source) -> Iterator[Tensor]:
        """Indices of one pass over a source, a tensor (B,) for each batch."""
        n = len(source.data)
        if self.shuffle:
            generator = torch.Generator().manual_seed(int(torch.empty((), dtype=torch.int64).random_()))
            order = torch.randperm(n, generator=generator)
        else:
            order = torch.arange(n)
        for index in torch.split(order.to(source.data.columns[0].device), source.batch_size):
            if len(index) == source.batch_size or not self.drop_last:
                yield index
