"""Bias correction: two numbers for the newest classes, fitted on remembered samples, put its logits in their place.

Wu et al. 2019, Large Scale Incremental Learning (BiC), arXiv:1905.13260, section 4.2. They are fitted on samples that
the memory holds out of rehearsal, as in the paper; on all of it where it holds out none. Samples that are
rehearsed again and again are fitted so well that they show no bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ckd.classes import Classes, ClassSet
from ckd.part import Ending, Part, refuse_heads_per_task, tensor_bytes

PENALTY = 1e-3
"""Weight of (α - 1)² + β² in the fit: on memory that is perfectly separated cross entropy alone has no minimum."""


class BiasCorrection(Part):
    """Evaluates with α z + β for the logits z of the newest classes; those of older ones stay as they are (eq. 4).

    A snapshot of the evaluation model (`Snapshot(of_evaluation_model=True)`) teaches the next student what was
    corrected; to correct it again would do so twice. Where no class is new the numbers stay.

    Args:
        steps: of L-BFGS, with which α and β of the newest classes are fitted by cross entropy over the seen ones.
    """

    needs_boundaries = True
    needs_one_label = True

    def __init__(self, steps: int = 50) -> None:
        self.steps = steps
        self.scale = torch.ones(0)
        self.shift = torch.zeros(0)

    def evaluation_model(self, model: nn.Module) -> nn.Module:
        """`model` with its logits corrected."""
        return Corrected(model, self.scale.clone(), self.shift.clone())

    def nbytes(self) -> dict[str, int]:
        """Bytes of the numbers, as `heads`."""
        return {"heads": tensor_bytes(self.scale) + tensor_bytes(self.shift)}

    def begin(self, model: nn.Module, classes: Classes) -> None:
        """Refuse a model with a head for each task."""
        refuse_heads_per_task("bias correction", classes.seen)

    def end(self, ending: Ending) -> None:
        """Fit the two numbers of the classes that came with this experience."""
        classes, new = ending.classes, ending.classes.new.indices
        rows = ending.held_out() or ending.stored()
        if new:
            width = max(classes.seen.indices) + 1
            self.scale, self.shift = torch.ones(width), torch.zeros(width)
        if len(classes.old) and new and rows is not None:
            logits = ending.logits(ending.model, rows)
            alpha, beta = fit(logits, rows.targets.to(logits.device), new, classes.seen, self.steps)
            self.scale[new], self.shift[new] = alpha, beta

    def state_dict(self) -> dict[str, Any]:
        """The numbers."""
        return {"scale": self.scale.clone(), "shift": self.shift.clone()}

    def load_state_dict(self, state: Mapping[str, Any], student: nn.Module) -> None:
        """Restore what `state_dict` returned."""
        self.scale, self.shift = state["scale"].clone(), state["shift"].clone()


def fit(logits: Tensor, targets: Tensor, new: list[int], seen: ClassSet, steps: int) -> tuple[float, float]:
    """α and β for the columns `new` of `logits` (N, C) that minimise the penalised cross entropy with `targets`."""
    seen_only = logits.detach().double()[:, seen.indices]
    column = {c: i for i, c in enumerate(seen.indices)}
    is_new = torch.zeros(len(column), dtype=torch.bool, device=logits.device)
    is_new[[column[c] for c in new]] = True
    labels = torch.tensor([column[int(t)] for t in targets], device=logits.device)
    line = torch.tensor([1.0, 0.0], dtype=torch.float64, device=logits.device, requires_grad=True)
    optimiser = torch.optim.LBFGS([line], max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(torch.where(is_new, line[0] * seen_only + line[1], seen_only), labels)
        loss = loss + PENALTY * ((line[0] - 1) ** 2 + line[1] ** 2)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[no-untyped-call]
    alpha, beta = line.detach().tolist()
    return alpha, beta


class Corrected(nn.Module):
    """A model whose logits are rescaled and shifted class by class; classes beyond the numbers stay as they are."""

    scale: Tensor
    shift: Tensor

    def __init__(self, model: nn.Module, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, inputs: Tensor) -> Tensor:
        """Corrected logits (B, C)."""
        logits: Tensor = self.model(inputs)
        width = logits.shape[1]
        scale, shift = (_grown(v, width, fill).to(logits) for v, fill in ((self.scale, 1.0), (self.shift, 0.0)))
        return logits * scale + shift


def _grown(values: Tensor, width: int, fill: float) -> Tensor:
    missing = width - len(values)
    return F.pad(values, (0, missing), value=fill) if missing > 0 else values[:width]
