"""Reservoir sampling: every sample of the stream is in memory with the same probability.

Vitter, Random Sampling with a Reservoir, ACM TOMS 11(1), 1985, algorithm R; here for a batch at a time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ckd.rows import Rows


class Reservoir:
    """Keeps a uniform sample of all that was ever offered; needs no task boundaries."""

    def __init__(self) -> None:
        self.offered = 0

    def admit(self, incoming: Rows, stored: Rows, capacity: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Algorithm R for B rows at once: the n-th sample goes to a slot drawn from 0 .. n-1, if that exists."""
        n = len(incoming)
        position = torch.arange(self.offered, self.offered + n)
        drawn = (torch.rand(n, generator=generator, dtype=torch.float64) * (position + 1)).long()
        slots = torch.where(position < capacity, position, drawn)
        self.offered += n
        last = torch.full((capacity,), -1)  # of rows that drew the same slot the last one stays, as one by one
        admitted = (slots < capacity).nonzero()[:, 0]
        last.scatter_reduce_(0, slots[admitted], admitted, "amax")
        kept = (last >= 0).nonzero()[:, 0]
        return last[kept], kept

    def state_dict(self) -> dict[str, Any]:
        """The number of samples offered so far."""
        return {"offered": self.offered}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the count."""
        self.offered = int(state["offered"])
