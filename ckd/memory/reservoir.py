"""Reservoir sampling: every sample of the stream is in memory with the same probability.

Vitter, Random Sampling with a Reservoir, ACM TOMS 11(1), 1985, algorithm R; here for a batch at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ckd.rows import Rows

NOBODY = torch.empty(0, dtype=torch.int64)


class Reservoir:
    """Keeps a uniform sample of all that was ever offered; needs no task boundaries."""

    def __init__(self) -> None:
        self.offered = 0

    def admit(self, incoming: Rows, stored: Rows, capacity: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Algorithm R for B rows at once: the n-th sample goes to a slot drawn from 0 .. n-1, if that exists."""
        n, first = len(incoming), self.offered
        self.offered += n
        drawn = torch.rand(n, generator=generator, dtype=torch.float64).numpy()
        # numpy, as it is several times as fast as torch for so few numbers
        if first >= capacity and np.minimum.reduce(drawn) * (first + 1) >= capacity:  # as a rule, late in a long stream
            return NOBODY, NOBODY
        slots = (drawn * np.arange(first + 1, first + n + 1)).astype(np.int64)
        if first < capacity:
            slots[: capacity - first] = range(first, min(capacity, first + n))
        admitted = np.flatnonzero(slots < capacity)
        taken = {int(slots[row]): int(row) for row in admitted}  # of two for one slot the later stays
        return torch.tensor(list(taken.values()), dtype=torch.int64), torch.tensor(list(taken), dtype=torch.int64)

    def state_dict(self) -> dict[str, Any]:
        """The number of samples offered so far."""
        return {"offered": self.offered}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the count."""
        self.offered = int(state["offered"])
