"""What a policy decides: which incoming rows enter a full memory, and in whose place."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from ckd.rows import Rows


class Policy(Protocol):
    """Admission and eviction, one decision for a whole batch.

    The decision is made on the CPU with the memory's own generator, so that it neither depends on the device nor
    touches the global random state.
    """

    def admit(self, incoming: Rows, stored: Rows, capacity: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Choose among `incoming` (B rows), given the rows `stored` so far (at most `capacity`).

        Returns:
            (rows, slots): rows (M,) of `incoming` and the distinct slots (M,) they are written to, both int64 on
            the CPU. Free slots are taken in order, so the memory is always filled from the front.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything the next decision depends on."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        ...
