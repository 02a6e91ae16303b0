"""What a Fisher matrix is measured on: samples, with labels drawn from the model's own predictions.

Labels of the data would give the "empirical Fisher", which is another matrix and no curvature (Kunstner et al. 2019,
arXiv:1905.12558).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ckd.memory import Memory
from ckd.outputs import call
from ckd.part import Ending, copy_of


@dataclass(frozen=True)
class FisherSamples:
    """Samples shown to a copy of a model, and labels drawn from its softmax.

    Attributes:
        model: the copy, in eval mode; its parameters require gradients unless the student's are frozen.
        inputs: network inputs (N, ...).
        tasks: task labels (N,), int64.
        labels: drawn from the softmax over `classes` (N,), int64.
        classes: those that it was taught, bool (C,) or (N, C); None for all.
        per_task: whether it has a head for each task.
    """

    model: nn.Module
    inputs: Tensor
    tasks: Tensor
    labels: Tensor
    classes: Tensor | None = None
    per_task: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(cls, model: nn.Module, ending: Ending, samples: int, generator: torch.Generator) -> FisherSamples | None:
        """At most `samples` of the experience that ends, with the labels of `model`; None if it has none."""
        chosen = Memory(samples)
        chosen.generator = generator
        for rows in ending.data():
            chosen.add(rows)
        if not len(chosen):
            return None
        measured = copy_of(model).eval().requires_grad_()
        frozen = {name for name, parameter in ending.model.named_parameters() if not parameter.requires_grad}
        for name, parameter in measured.named_parameters():
            parameter.requires_grad_(name not in frozen)
        device = next(measured.parameters()).device
        rows = chosen.rows.to(device)
        logits = ending.logits(measured, rows)
        seen = ending.classes.seen
        classes = seen.mask(logits.shape[1], rows.tasks, device)
        cumulative = _masked(logits, classes).softmax(1).double().cumsum(1)
        drawn = torch.rand(len(rows), 1, generator=generator, dtype=torch.float64).to(device) * cumulative[:, -1:]
        labels = torch.searchsorted(cumulative, drawn, right=True)[:, 0].clamp_(max=logits.shape[1] - 1)
        return cls(measured, ending.prepare(rows.raw), rows.tasks, labels, classes, seen.per_task)

    def losses(self) -> Tensor:
        """-log p(label) of each sample, (N,), among the classes taught; with a graph."""
        logits = call(self.model, self.inputs, self.tasks if self.per_task else None)
        return F.cross_entropy(_masked(logits, self.classes), self.labels, reduction="none")

    def batches(self, size: int) -> Iterator[FisherSamples]:
        """The samples in pieces of `size`."""
        for start in range(0, len(self), size):
            piece = slice(start, start + size)
            classes = self.classes if self.classes is None or self.classes.dim() == 1 else self.classes[piece]
            columns = (self.inputs[piece], self.tasks[piece], self.labels[piece])
            yield FisherSamples(self.model, *columns, classes, self.per_task)


def _masked(logits: Tensor, classes: Tensor | None) -> Tensor:
    return logits if classes is None else logits.masked_fill(~classes, -torch.inf)
