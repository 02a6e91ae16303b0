"""What the experiments on images share: options, a loop, what is measured, and how it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import mean, stdev
from typing import Any

import text_runs
import torch
from torch import Tensor, nn

from ckd import Engine, Objective
from ckd.data import Arrays
from ckd.engine.given import mean_cross_entropy
from ckd.outputs import eval_mode

BATCH, LR, BINS = 64, 0.05, 15
options = partial(text_runs.options, epochs=None, data="where data sets are kept (default: ~/.cache/ckd)")
WHICH = {"nargs": "+", "metavar": "NAME", "help": "the data sets (default: all)"}
CIFAR_EPOCHS = {"type": int, "default": 10, "metavar": "E", "help": "passes over CIFAR-10 (default: %(default)s)"}
Shown = Callable[[int, Tensor, torch.Generator], Tensor]
"""shown(epoch, rows, generator) -> network inputs of these samples in this epoch"""


def augmented(arrays: Arrays) -> Shown:
    """The training samples, augmented anew in each epoch as the arrays say; equal generators give equal views."""
    prepare = arrays.prepare_train
    return lambda _, rows, generator: prepare(arrays.x_train[rows], generator)


def train(
    student: nn.Module,
    objective: Objective,
    shown: Shown,
    labels: Tensor,
    *,
    epochs: int,
    seed: int,
    lr: float = LR,
    batch: int = BATCH,
    criterion: Callable[[Tensor, Tensor], Tensor] = mean_cross_entropy,
) -> nn.Module:
    """SGD with momentum 0.9, weight decay 5e-4 and a rate that falls to 0 in a line; order and views by the seed."""
    engine, steps = Engine(objective, criterion=criterion), epochs * -(-len(labels) // batch)
    optimizer = torch.optim.SGD(student.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    generator = torch.Generator().manual_seed(seed)
    engine.begin(range(int(labels.max()) + 1))
    student.train()
    for epoch in range(epochs):
        for rows in torch.randperm(len(labels), generator=generator).split(batch):
            optimizer.zero_grad()
            engine.loss(student, shown(epoch, rows, generator), labels[rows]).backward()
            optimizer.step()
            engine.after_update(optimizer)
            schedule.step()
    return student


@torch.no_grad()
def predict(network: nn.Module, inputs: Tensor, batch: int = 100) -> Tensor:
    """Logits (N, ...) in eval mode."""
    with eval_mode(network):
        return torch.cat([network(x) for x in inputs.split(batch)])


def measures(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy and calibration error in percent, negative log likelihood in nats, Brier score from 0 to 2."""
    log_p = logits.double().log_softmax(1)
    p, own = log_p.exp(), torch.arange(len(labels))
    confidence, predicted = p.max(1)
    right = (predicted == labels).double()
    return {
        "accuracy": 100 * right.mean().item(),
        "calibration error": 100 * equal_mass_error(confidence, right),
        "NLL": -log_p[own, labels].mean().item(),
        "Brier": (p.square().sum(1) - 2 * p[own, labels] + 1).mean().item(),
    }


def equal_mass_error(confidence: Tensor, right: Tensor, bins: int = BINS) -> float:
    """Σ over bins of n_b / N · |accuracy_b - confidence_b|, every bin with equally many samples by confidence.

    Source: Nguyen & O'Connor 2015, arXiv:1508.05154 (adaptive bins); Guo et al. 2017, arXiv:1706.04599, eq. 3.
    """
    order = confidence.sort(stable=True).indices
    gaps = [(len(rows), right[rows].mean() - confidence[rows].mean()) for rows in order.tensor_split(bins) if len(rows)]
    return sum(n * abs(gap.item()) for n, gap in gaps) / len(confidence)


def told(values: Sequence[float], digits: int = 1) -> str:
    """Mean ± standard deviation."""
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{spread}"


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def of(rows: Sequence[dict[str, Any]], what: str, **key: Any) -> list[float]:
    """One number of the rows that have these settings, in the order of seeds."""
    found = [row for row in rows if all(row.get(name) == value for name, value in key.items())]
    return [row[what] for row in sorted(found, key=lambda row: row["seed"])]
