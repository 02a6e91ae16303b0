"""A bound on how far one step goes, relative to the steps before it.

A learning rate that is safe on one data set is not on the next, as a loss curves with its weight and with the squared
norm of the inputs, and most at a task boundary. Where gradients grow within a few steps, what follows is a leap that
destroys the network: bounded steps leave it time to find flatter ground. Clipping at a statistic of earlier norms in
place of a fixed number is from Seetharaman et al. 2020 (AutoClip), arXiv:2007.14469.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ckd.devices import on
from ckd.errors import ConfigError
from ckd.part import Part, tensor_bytes

FEW = 10
"""Steps before which there is no limit: their median says little."""


class StepLimit(Part):
    """Scales a gradient down whose norm is above `factor` times the largest median norm so far.

    A median is of the last `window` steps. The largest is taken, not the last one: a network that has learnt its
    experience has next to no gradient, and could not learn the next one. The norm is that of all parameters of the
    student together. What is noted of a gradient that was scaled down is the limit. It acts at the end of the backward
    pass, whatever the optimiser.

    Args:
        factor: of the median, above 1.
        window: how many steps a median is of.

    Raises:
        ConfigError: a factor or a window that cannot work.

    Example:
        >>> from ckd.recipes import er
        >>> er(memory_size=200).extend(limit=StepLimit(2.0))
        <Objective 'er', memory of 200>
    """

    def __init__(self, factor: float = 2.0, window: int = 100) -> None:
        if not isinstance(factor, int | float) or not factor > 1:
            fix = "Use 2; recipes take 0 for no limit."
            raise ConfigError("factor of the step limit", expected="a number above 1", received=factor, fix=fix)
        if not isinstance(window, int) or window < FEW:
            expected = f"a whole number from {FEW}"
            raise ConfigError("window of the step limit", expected=expected, received=window, fix="Use 100.")
        self.factor, self.window = factor, window
        self._norms, self._median = torch.empty(0), torch.zeros(())
        self._steps = 0

    def watch(self, loss: Tensor, student: nn.Module) -> None:
        """Bound the gradients of `student` once the backward pass of `loss`, a scalar, has ended."""

        def ended() -> None:
            self.bound([p.grad for p in student.parameters() if p.grad is not None])

        def begun(_: Tensor) -> None:
            torch.autograd.Variable._execution_engine.queue_callback(ended)

        if loss.requires_grad:
            loss.register_hook(begun)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def bound(self, gradients: list[Tensor]) -> None:
        """Scale the gradients of a step, in place; nothing waits for the device."""
        if not gradients:
            return
        norm = torch.nn.utils.get_total_norm(gradients).float()
        if not len(self._norms):
            self._norms = norm.new_zeros(self.window)
        self._norms, self._median = on(norm.device, self._norms), on(norm.device, self._median)
        known = min(self._steps, self.window)
        if known >= FEW:
            self._median = torch.maximum(self._median, self._norms[:known].median())
            limit = torch.where(self._median > 0, self.factor * self._median, norm)
            torch._foreach_mul_(gradients, (limit / norm).nan_to_num(1.0).clamp(max=1.0))
            norm = torch.minimum(norm, limit)
        last = self._norms[self._steps % self.window - 1]
        self._norms[self._steps % self.window] = torch.where(norm.isfinite(), norm, last)  # a NaN would stay for good
        self._steps += 1

    def state_dict(self) -> dict[str, Any]:
        """The norms that are remembered, and the largest median."""
        return {"norms": self._norms.clone(), "median": self._median.clone(), "steps": self._steps}

    def load_state_dict(self, state: Mapping[str, Any], student: nn.Module) -> None:
        """Restore what `state_dict` returned."""
        self._norms, self._median = state["norms"].clone(), state["median"].clone()
        self._steps = state["steps"]

    def nbytes(self) -> dict[str, int]:
        """Bytes of the norms and the largest median, as `norms`."""
        return {"norms": tensor_bytes(self._norms) + tensor_bytes(self._median)}
