"""Where features are after the network has changed: a linear map, fitted to samples that both networks saw.

Gomez-Villa et al. 2024, Exemplar-free Continual Representation Learning via Learnable Drift Compensation,
arXiv:2407.08536. The map is theirs; to draw it towards no change, and its error, are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Drift:
    """Features φ before are φ `matrix` + `shift` afterwards, with an error.

    Attributes:
        matrix: (D, D).
        shift: (D,).
        error: covariance of what the map leaves unexplained (D, D).
    """

    matrix: Tensor
    shift: Tensor
    error: Tensor


class PairMoments:
    """First and second moments of features before and after, side by side."""

    def __init__(self) -> None:
        self.count = 0
        self.sums = torch.zeros(0, dtype=torch.float64)
        self.squares = torch.zeros(0, 0, dtype=torch.float64)

    def add(self, before: Tensor, after: Tensor) -> None:
        """Features (B, D) of the same samples."""
        both = torch.cat([before, after], 1)
        if not self.count:
            self.sums, self.squares = both.new_zeros(both.shape[1]), both.new_zeros(both.shape[1], both.shape[1])
        self.count += len(both)
        self.sums += both.sum(0)
        self.squares += both.T @ both


def drift(groups: Sequence[PairMoments], ridge: float) -> Drift:
    """The map that fits the samples of all groups best; groups with samples count alike, however many they have.

    Args:
        groups: at least one of them with samples.
        ridge: weight of ‖matrix - 1‖², in mean variances of the features before.
    """
    some = [group for group in groups if group.count]
    mean = torch.stack([group.sums / group.count for group in some]).mean(0)
    square = torch.stack([group.squares / group.count for group in some]).mean(0)
    d, covariance = len(mean) // 2, square - torch.outer(mean, mean)
    before, across, after = covariance[:d, :d], covariance[:d, d:], covariance[d:, d:]
    matrix = torch.eye(d, dtype=before.dtype) + torch.linalg.solve(regular(before, ridge), across - before)
    error = after - matrix.T @ across - across.T @ matrix + matrix.T @ before @ matrix
    return Drift(matrix, mean[d:] - mean[:d] @ matrix, error)


def regular(covariance: Tensor, share: float) -> Tensor:
    """With `share` of the mean variance, and at least 1e-12, added to each variance, so that it can be inverted."""
    more = (share * covariance.diagonal().mean()).clamp(min=1e-12)
    return covariance + more * torch.eye(len(covariance), dtype=covariance.dtype)
