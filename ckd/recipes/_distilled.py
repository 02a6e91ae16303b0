"""Another network as teacher: soft targets, and features by the names of layers.

Hinton, Vinyals & Dean 2015, arXiv:1503.02531; layers as in Romero et al. 2015 (FitNets), arXiv:1412.6550.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from ckd.errors import ConfigError
from ckd.losses import Relational, attention, feature_mse, kd, relational_angle, relational_distance, similarity
from ckd.objective import Adaptor, Objective, Term, tap
from ckd.objective import teacher as output_of
from ckd.objective.term import Weight
from ckd.outputs import check_path
from ckd.teachers import Fixed, Teacher

SOFT_TARGETS = partial(kd, temperature=4.0)
"""With the weights 0.9 and 0.1, what most comparisons on CIFAR use."""

OF_ANY_WIDTH = (attention, relational_angle, relational_distance, similarity)
"""Losses of features that need no map from one network's width to the other's."""


def distilled(
    teacher: nn.Module | Teacher,
    *,
    loss: Callable[..., Tensor] = SOFT_TARGETS,
    weight: Weight = 0.9,
    label_weight: Weight = 0.1,
    features: Mapping[str, str] | None = None,
    feature_loss: Callable[..., Tensor] = feature_mse,
    feature_weight: Weight = 1.0,
    name: str = "distilled",
) -> Objective:
    """Labels with `label_weight`, the teacher's logits with `weight`, pairs of layers with `feature_weight` each.

    Args:
        teacher: a trained network, which is frozen and put in eval mode, or a teacher such as
            `Ensemble([Fixed(one), Fixed(other)])` or `SoftLabels.read("labels.safetensors")`.
        loss: of student and teacher logits, such as `kd`, `dkd`, `dist` or `Standardised(kd)`. Those with weights of
            their own are stronger: `dkd` needs a learning rate of a third, or less `weight`.
        weight: of that loss, or a function of the `Moment`; 0 leaves it out.
        label_weight: of the training loop's own criterion.
        features: layers to be matched, {"path in the student": "path in the teacher"}, as `named_modules()` gives them.
        feature_loss: of a pair of outputs. Unless it compares features of any width, as `attention`, `similarity` and
            the relational losses do, a linear map is learned from the student's to the teacher's.
        feature_weight: of each pair.
        name: of the objective.

    Returns:
        An objective for one run, by `Engine` or `SelfDistillation`.

    Raises:
        ConfigError: neither a network nor a teacher.
        UnknownNameError: a layer that the teacher does not have; the nearest names are in the message. One that the
            student does not have is refused at the first step.

    Example:
        >>> import torch
        >>> from ckd import Engine, recipes
        >>> large = nn.Sequential(nn.Linear(4, 50), nn.ReLU(), nn.Linear(50, 3))
        >>> small = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> engine = Engine(recipes.distilled(large, features={"1": "1"}))
        >>> engine.begin(classes=range(3))
        >>> sorted(engine.loss(small, torch.zeros(2, 4), torch.tensor([0, 1])).parts)
        ['1 as 1', 'criterion', 'distillation']
    """
    given: object = teacher
    if not isinstance(given, nn.Module | Teacher):
        fix = "Pass the trained network itself."
        raise ConfigError("teacher", expected="a network or a teacher", received=type(given).__name__, fix=fix)
    pairs: object = features or {}
    if not isinstance(pairs, Mapping):
        fix = 'Write features={"layer of the student": "layer of the teacher"}.'
        raise ConfigError("features", expected="pairs of layers", received=repr(features), fix=fix)
    if isinstance(teacher, nn.Module):
        modules = dict(teacher.named_modules())
        for path in (features or {}).values():
            check_path(modules, path, "teacher")
    terms = [Term("distillation", target=output_of("teacher"), loss=loss, weight=weight)]
    for ours, theirs in (features or {}).items():
        terms.append(_pair(ours, theirs, feature_loss, feature_weight))
    return Objective(
        name,
        terms,
        criterion=Term("criterion", weight=label_weight),
        teachers={"teacher": Fixed(teacher) if isinstance(teacher, nn.Module) else teacher},
    )


def _pair(ours: str, theirs: str, loss: Callable[..., Tensor], weight: Weight) -> Term:
    function: Any = loss.func if isinstance(loss, partial) else loss
    return Term(
        f"{ours} as {theirs}",
        output=tap(ours),
        target=output_of("teacher", output=tap(theirs)),
        adaptor=None if function in OF_ANY_WIDTH or isinstance(function, Relational) else Adaptor(),
        loss=loss,
        weight=weight,
    )
