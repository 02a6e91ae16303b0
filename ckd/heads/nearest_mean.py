"""Nearest class mean: predicts the class whose remembered samples' mean feature is closest.

Rebuffi et al. 2017 (iCaRL), arXiv:1611.07725, eq. 2 and algorithm 1: features are normalised, and so are the means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ckd.classes import Classes
from ckd.devices import device_of, moved
from ckd.outputs import collect, features, logits
from ckd.part import Ending, Part, refuse_heads_per_task, tensor_bytes


class NearestMean(Part):
    """Evaluates with the negative distance to each class's mean feature in memory; features are the head's input."""

    needs_boundaries = True
    needs_one_label = True
    needs_head = True

    def __init__(self) -> None:
        self.means: Tensor | None = None
        self._head = ""

    def evaluation_model(self, model: nn.Module) -> nn.Module:
        """A network that classifies by the means; `model` itself while there are none."""
        return model if self.means is None else NearestMeanClassifier(model, self.means.clone(), self._head)

    def nbytes(self) -> dict[str, int]:
        """Bytes of the means, as `heads`."""
        return {} if self.means is None else {"heads": tensor_bytes(self.means)}

    def begin(self, model: nn.Module, classes: Classes) -> None:
        """Refuse a model with a head for each task."""
        refuse_heads_per_task("the nearest-mean classifier", classes.seen)

    def end(self, ending: Ending) -> None:
        """Take the means of what is now remembered."""
        rows = ending.stored()
        if rows is None:
            return
        found = F.normalize(ending.features(ending.model, rows), dim=1)
        self.means = class_means(found, rows.targets.to(found.device), max(ending.classes.seen.indices) + 1)
        self._head = ending.head or ""

    def state_dict(self) -> dict[str, Any]:
        """The means, and which layer's input they are of."""
        return {"means": None if self.means is None else self.means.clone(), "head": self._head}

    def load_state_dict(self, state: Mapping[str, Any], student: nn.Module) -> None:
        """Restore what `state_dict` returned."""
        self.means = moved(state["means"], device_of(student))
        self._head = state["head"]


def class_means(features: Tensor, targets: Tensor, n_classes: int) -> Tensor:
    """Mean of the rows of `features` (N, D) for each class, (n_classes, D); NaN for a class without samples."""
    sums = features.new_zeros(n_classes, features.shape[1]).index_add_(0, targets, features)
    return sums / torch.bincount(targets, minlength=n_classes)[:, None]


class NearestMeanClassifier(nn.Module):
    """Logits are -‖φ(x) - μ_c‖², within [-4, 0] as φ and μ are normalised; -1000 for classes without a mean."""

    means: Tensor

    def __init__(self, model: nn.Module, means: Tensor, head: str) -> None:
        super().__init__()
        self.model = model
        self.head = head
        self.register_buffer("means", F.normalize(means, dim=1))

    def forward(self, inputs: Tensor) -> Tensor:
        """Negative squared distances (B, C), as wide as the model's head."""
        found = collect(self.model, inputs, None, [logits, features], self.head)
        width = found[logits].shape[1]
        distance = torch.cdist(F.normalize(found[features], dim=1), self.means).square().nan_to_num(nan=1000.0)
        return F.pad(-distance, (0, width - distance.shape[1]), value=-1000.0)
