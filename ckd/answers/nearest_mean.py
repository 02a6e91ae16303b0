"""Nearest class mean: the class whose remembered samples' mean feature is closest answers.

Rebuffi et al. 2017 (iCaRL), arXiv:1611.07725, eq. 2 and algorithm 1: features are normalised, and so are the means.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ckd.answers.answer import refuse_heads_per_task
from ckd.classes import ClassSet
from ckd.part import Ending, Part, tensor_bytes
from ckd.taps import head_tapped


class NearestMean(Part):
    """Answers with the negative distance to each class's mean feature in memory; features are the head's input."""

    needs_boundaries = True

    def __init__(self) -> None:
        self.means: Tensor | None = None

    def answering(self, model: nn.Module) -> nn.Module:
        """A network that classifies by the means; the student itself while there are none."""
        return model if self.means is None else NearestMeanClassifier(model, self.means.clone())

    def nbytes(self) -> dict[str, int]:
        """Bytes of the means, as `answers`."""
        return {} if self.means is None else {"answers": tensor_bytes(self.means)}

    def begin(self, model: nn.Module, seen: ClassSet) -> None:
        """Refuse a model with a head for each task."""
        refuse_heads_per_task("the nearest-mean classifier", seen)

    def end(self, ending: Ending) -> None:
        """Take the means of what is now remembered."""
        rows = ending.remembered()
        if rows is None:
            return
        features = F.normalize(ending.features(ending.model, rows), dim=1)
        self.means = class_means(features, rows.targets.to(features.device), max(ending.taught.indices) + 1)


def class_means(features: Tensor, targets: Tensor, n_classes: int) -> Tensor:
    """Mean of the rows of `features` (N, D) for each class, (n_classes, D); NaN for a class without samples."""
    sums = features.new_zeros(n_classes, features.shape[1]).index_add_(0, targets, features)
    return sums / torch.bincount(targets, minlength=n_classes)[:, None]


class NearestMeanClassifier(nn.Module):
    """Logits are -‖φ(x) - μ_c‖², within [-4, 0] as φ and μ are normalised; -1000 for classes without a mean."""

    means: Tensor

    def __init__(self, model: nn.Module, means: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("means", F.normalize(means, dim=1))

    def forward(self, inputs: Tensor) -> Tensor:
        """Negative squared distances (B, C), as wide as the model's head."""
        with head_tapped(self.model) as taken:
            width = self.model(inputs).shape[1]
        distance = torch.cdist(F.normalize(taken[-1], dim=1), self.means).square().nan_to_num(nan=1000.0)
        return F.pad(-distance, (0, width - distance.shape[1]), value=-1000.0)
