"""Named losses, summed and checked for NaN without stopping the device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ckd.errors import NonFiniteLossError


class LossRecord:
    """Sums of scalar losses by name since the last `means`.

    On the CPU each loss is read at once, which is free there. On an accelerator reading waits for the device, so the
    losses of `every` steps are kept on it and read together; a NaN is then found late, but with its own iteration.

    Args:
        every: steps between readings on an accelerator.
    """

    def __init__(self, every: int = 100) -> None:
        self.every = every
        self._totals: dict[str, tuple[float, int]] = {}
        self._names: tuple[str, ...] = ()
        self._unread: list[tuple[str, tuple[float, ...], Tensor]] = []

    def add(self, losses: dict[str, tuple[float, Tensor]], iteration: int, experience: int = 0) -> None:
        """Add each loss of this iteration, weight · value (a scalar).

        Raises:
            NonFiniteLossError: a loss is NaN or infinite; term, iteration and experience are in the message.
        """
        when = f"at iteration {iteration} in experience {experience + 1}"
        names = tuple(losses)
        if names != self._names:
            self.read()
            self._names = names
        if next(iter(losses.values()))[1].device.type == "cpu":
            self._sum(when, [weight * value.item() for weight, value in losses.values()])
            return
        weights, values = zip(*losses.values(), strict=True)
        self._unread.append((when, weights, torch.stack([value.detach().reshape(()) for value in values])))
        if len(self._unread) >= self.every:
            self.read()

    def means(self) -> dict[str, float]:
        """The mean of each loss since the last call, and a fresh start."""
        self.read()
        means = {name: total / steps for name, (total, steps) in self._totals.items()}
        self._totals = {}
        return means

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""
        self.read()
        return {"totals": {name: list(total) for name, total in self._totals.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._totals = {name: (total, steps) for name, (total, steps) in state["totals"].items()}
        self._unread = []

    def read(self) -> None:
        """Read what is left on the device.

        Raises:
            NonFiniteLossError: as `add` does.
        """
        unread, self._unread = self._unread, []
        if unread:
            rows = torch.stack([values for *_, values in unread]).tolist()
            for (when, weights, _), row in zip(unread, rows, strict=True):
                self._sum(when, [weight * value for weight, value in zip(weights, row, strict=True)])

    def _sum(self, when: str, values: list[float]) -> None:
        for name, value in zip(self._names, values, strict=True):
            if not math.isfinite(value):
                raise NonFiniteLossError(
                    f"loss {name!r} {when}",
                    expected="a finite number",
                    received="NaN or infinity",
                    fix="Lower the learning rate or the term's weight, or look for NaN in the inputs.",
                )
            total, steps = self._totals.get(name, (0.0, 0))
            self._totals[name] = total + value, steps + 1
