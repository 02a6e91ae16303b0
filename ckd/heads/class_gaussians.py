"""Classes as normal distributions of features with one covariance, and their linear discriminant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ckd.heads.drift import Drift


@dataclass(frozen=True)
class ClassGaussians:
    """Classes as normal distributions with one covariance, in float64.

    Attributes:
        counts: samples of each class (C,); 0 for a class that has not come.
        means: (C, D).
        scatter: the sum over samples of (φ - μ)(φ - μ)ᵀ (D, D), μ the mean of the sample's class.
    """

    counts: Tensor
    means: Tensor
    scatter: Tensor

    def discriminant(self, shrinkage: float) -> tuple[Tensor, Tensor, Tensor] | None:
        """Weights Σ⁻¹ μ_c (C, D), biases -½ μ_c Σ⁻¹ μ_c (C,), and which classes were seen (C,), bool.

        Both are minus their means over the seen classes, and 0 for the others. All classes are taken for equally
        frequent. None where no class has samples that differ, so that there is no covariance.
        """
        seen = self.counts > 0
        freedom = float(self.counts.sum()) - int(seen.sum())
        if freedom < 1 or not self.scatter.diagonal().sum() > 0:
            return None
        weight, bias = torch.zeros_like(self.means), torch.zeros_like(self.counts)
        solved = torch.linalg.solve(_shrunk(self.scatter / freedom, freedom, shrinkage), self.means[seen].T).T
        constant = -0.5 * (solved * self.means[seen]).sum(1)
        weight[seen], bias[seen] = solved - solved.mean(0), constant - constant.mean()
        return weight, bias, seen

    def have(self, classes: Sequence[int]) -> bool:
        """Whether there are samples of each of these classes."""
        return all(c < len(self.counts) and bool(self.counts[c]) for c in classes)

    def carried(self, by: Drift) -> ClassGaussians:
        """The same in features that have changed."""
        scatter = by.matrix.T @ self.scatter @ by.matrix + self.counts.sum() * by.error
        return ClassGaussians(self.counts, self.means @ by.matrix + by.shift, scatter)

    def joined(self, other: ClassGaussians) -> ClassGaussians:
        """Of the samples of both; those of one class are taken together (Chan, Golub & LeVeque 1979)."""
        n = max(len(self.counts), len(other.counts))
        (a, x), (b, y) = ((_lengthened(g.counts, n), _lengthened(g.means, n)) for g in (self, other))
        both = (a + b).clamp(min=1)
        apart = (y - x) * (a * b / both).sqrt()[:, None]
        means = (a[:, None] * x + b[:, None] * y) / both[:, None]
        return ClassGaussians(a + b, means, self.scatter + other.scatter + apart.T @ apart)


class Sums:
    """What `ClassGaussians` are made of, batch by batch."""

    def __init__(self) -> None:
        self.counts = torch.zeros(0, dtype=torch.float64)
        self.sums = torch.zeros(0, 0, dtype=torch.float64)
        self.squares = torch.zeros(0, 0, dtype=torch.float64)

    def add(self, features: Tensor, targets: Tensor) -> None:
        """Features (B, D) and labels (B,), int64."""
        d = features.shape[1]
        if not len(self.counts):
            self.sums, self.squares = features.new_zeros(0, d), features.new_zeros(d, d)
        n = max(len(self.counts), int(targets.max()) + 1) if len(targets) else len(self.counts)
        self.counts = _lengthened(self.counts, n) + torch.bincount(targets, minlength=n)
        self.sums = _lengthened(self.sums, n).index_add_(0, targets, features)
        self.squares += features.T @ features

    def gaussians(self) -> ClassGaussians:
        """Of what was added."""
        means = self.sums / self.counts.clamp(min=1)[:, None]
        return ClassGaussians(self.counts, means, self.squares - (means.T * self.counts) @ means)


def _shrunk(covariance: Tensor, n: float, share: float) -> Tensor:
    """A covariance (D, D) of n samples, with `share` of the mean variance added to each variance, or more.

    For few samples it is (1 + share) ((1 - ρ) Σ + ρ tr(Σ) / D), whose trace is the same, with the oracle approximating
    shrinkage ρ of Chen, Wiesel, Eldar & Hero 2010, eq. 23.
    """
    d, square, trace = len(covariance), float((covariance**2).sum()), float(covariance.diagonal().sum())
    above, below = (1 - 2 / d) * square + trace**2, (n + 1 - 2 / d) * (square - trace**2 / d)
    rho = max(above / below if below > above else 1.0, share / (1 + share))
    return (1 + share) * ((1 - rho) * covariance + rho * trace / d * torch.eye(d, dtype=covariance.dtype))


def _lengthened(x: Tensor, n: int) -> Tensor:
    """`x` (C, ...) with zeros behind, (n, ...)."""
    return torch.cat([x, x.new_zeros(n - len(x), *x.shape[1:])])
