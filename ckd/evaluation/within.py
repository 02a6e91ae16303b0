"""Accuracies that are measured while an experience is learnt, not only when it has been."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ckd.devices import device_of
from ckd.part import copy_of


class Within(NamedTuple):
    """One evaluation within an experience; in a file the list [learnt, step, accuracies].

    Attributes:
        learnt: experiences learnt before the one under way.
        step: training steps made in the one under way.
        accuracies: on each test experience so far, that of the one under way last, in [0, 1], among all classes.
    """

    learnt: int
    step: int
    accuracies: tuple[float, ...]


@torch.no_grad()
def accuracies(
    network: nn.Module, experiences: Iterable[tuple[Tensor, Tensor]], batch_size: int = 1000
) -> tuple[float, ...]:
    """Accuracy of a network on each test experience, among all classes.

    A copy of the network is shown the samples, in eval mode: the network, its mode and its running statistics stay as
    they are, whatever it is training on. Nothing is drawn at random.

    Args:
        network: network inputs (B, ...) to logits (B, C).
        experiences: network inputs (N, ...) and labels (N,) of each; NaN is the accuracy on no samples.
        batch_size: samples in a forward pass.
    """
    shown = copy_of(network).eval()
    device = device_of(shown)
    found = []
    for inputs, labels in experiences:
        batches = zip(torch.split(inputs, batch_size), torch.split(labels, batch_size), strict=True)
        right = [(shown(x.to(device)).argmax(1) == y.to(device)).sum() for x, y in batches]
        found.append(int(torch.stack(right).sum()) / len(labels) if len(labels) else float("nan"))
    return tuple(found)
