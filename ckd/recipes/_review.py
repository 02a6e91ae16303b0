"""Knowledge review: each layer of the teacher teaches a fusion of the student's layers from there on.

Chen et al. 2021, arXiv:2104.09044. The weight is ours; the authors have 0.6 to 8, by pair of networks.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from ckd import losses
from ckd.objective import Fusion, Objective, Term, tap
from ckd.objective import teacher as output_of
from ckd.recipes._distilled import distilled
from ckd.recipes._feature_distillation import Layers, pairs
from ckd.recipes.registry import recipe
from ckd.recipes.schedules import ramp
from ckd.teachers import Teacher


@recipe("review", paper="Chen et al. 2021, arXiv:2104.09044", use="convolutions", teacher="given")
def review(
    teacher: nn.Module | Teacher,
    *,
    layers: Layers = "",
    feature_weight: float = 1.0,
    fusion_lr: float = 0.05,
    warm_up: float = 0.08,
    weight: float = 0.0,
    label_weight: float = 1.0,
    temperature: float = 4.0,
    steps: int = 0,
) -> Objective:
    """Match several layers at once, each fused with the deeper ones by learned attention, at several resolutions.

    The weight grows over the first `warm_up` of the training's `steps`: 20 of 240 epochs in the authors' code.
    """
    losses.check_temperature(temperature)
    found = pairs(layers)
    matched = Term(
        "review",
        output=tap(*found),
        target=output_of("teacher", output=tap(*found.values())),
        adaptor=Fusion(lr=fusion_lr),
        loss=losses.hierarchical_context,
        weight=ramp(feature_weight, warm_up * steps),
    )
    loss = partial(losses.kd, temperature=temperature)
    return distilled(teacher, loss=loss, weight=weight, label_weight=label_weight, name="review").extend(matched)
