"""Named losses, summed on the device and checked for NaN without stopping it."""

from __future__ import annotations

import torch
from torch import Tensor

from ckd.errors import NonFiniteLossError


class Ledger:
    """Sums of scalar losses by name since the last `close`.

    A sum stays non-finite once it is, so counting the steps at which it was finite finds the step that broke it,
    however late it is looked at: at once on the CPU, where that is free, else every `every` steps.

    Args:
        every: steps between checks on an accelerator.
    """

    def __init__(self, every: int = 100) -> None:
        self.every = every
        self._totals: dict[str, tuple[float, int]] = {}
        self._names: tuple[str, ...] = ()
        self._sums = self._finite = torch.empty(0)
        self._steps = self._iteration = 0

    def add(self, losses: dict[str, Tensor], iteration: int) -> None:
        """Add each loss (a scalar) of this iteration.

        Raises:
            NonFiniteLossError: a loss is NaN or infinite; the term and the iteration are in the message.
        """
        values = torch.stack([loss.detach().reshape(()) for loss in losses.values()])
        names = tuple(losses)
        if names != self._names:
            self._fold()
            self._names, self._sums = names, torch.zeros_like(values)
            self._finite = torch.zeros_like(values)
        self._sums += values
        self._finite += self._sums.isfinite()
        self._steps += 1
        self._iteration = iteration
        if values.device.type == "cpu" or self._steps % self.every == 0:
            self.check()

    def check(self) -> None:
        """Raise if a sum is no longer finite."""
        for name, n_finite in zip(self._names, self._finite.tolist(), strict=True):
            if n_finite < self._steps:
                raise NonFiniteLossError(
                    f"loss {name!r} at iteration {self._iteration - self._steps + int(n_finite) + 1}",
                    expected="a finite number",
                    received="NaN or infinity",
                    fix="Lower the learning rate or the term's weight, or look for NaN in the inputs.",
                )

    def close(self) -> dict[str, float]:
        """The mean of each loss since the last close, and a fresh start."""
        self._fold()
        means = {name: total / steps for name, (total, steps) in self._totals.items()}
        self._totals = {}
        return means

    def _fold(self) -> None:
        """Move what was summed under the present names to the totals."""
        self.check()
        for name, value in zip(self._names, self._sums.tolist(), strict=True):
            total, steps = self._totals.get(name, (0.0, 0))
            self._totals[name] = total + value, steps + self._steps
        self._names, self._steps = (), 0
        self._sums = self._finite = torch.empty(0)
