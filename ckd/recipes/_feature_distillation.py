"""A trained network teaches by what its layers return: labels, one loss of pairs of layers, and kd if it is weighted.

kd is left out, as in the comparison of Tian et al. 2020, arXiv:1910.10699. hint's weight is ours and was not tuned.
Attention and similarity have a twentieth of their authors' weights, relations a sixteenth: with the authors', of
trainings of 200 epochs, a student of 6 epochs ended below the one alone. All three were chosen on validation data of
CIFAR-10 and CIFAR-100 (benchmarks/results/distillation.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn

from ckd import losses
from ckd.errors import ConfigError
from ckd.objective import Objective
from ckd.recipes._distilled import distilled
from ckd.recipes.registry import recipe
from ckd.teachers import Teacher

Layers = str | Mapping[str, str]
"""Pairs of layers, {"path in the student": "path in the teacher"}, or the same as text, "one=other, two=three"."""

LAST_STAGE = "last stage"
"""In the place of pairs, for the commands, which know ckd's own networks: their last pair alone. Relations are compared
there, as by the papers' authors. Those of large layers take most of a step: B² N with N features, B³ N for angles."""


@recipe("hint", paper="Romero et al. 2015, arXiv:1412.6550", use="layers of one resolution", teacher="given")
def hint(
    teacher: nn.Module | Teacher,
    *,
    layers: Layers = "",
    feature_weight: float = 1.0,
    weight: float = 0.0,
    label_weight: float = 1.0,
    temperature: float = 4.0,
) -> Objective:
    """Match the teacher's features, through a linear map that is learned beside the student."""
    return _matched("hint", teacher, layers, losses.feature_mse, feature_weight, weight, label_weight, temperature)


@recipe("attention", paper="Zagoruyko & Komodakis 2017, arXiv:1612.03928", use="convolutions", teacher="given")
def attention(
    teacher: nn.Module | Teacher,
    *,
    layers: Layers = "",
    feature_weight: float = 50.0,
    weight: float = 0.0,
    label_weight: float = 1.0,
    temperature: float = 4.0,
) -> Objective:
    """Look where the teacher looks: match the places where its features are large."""
    return _matched("attention", teacher, layers, losses.attention, feature_weight, weight, label_weight, temperature)


@recipe("similarity", paper="Tung & Mori 2019, arXiv:1907.09682", use="any two layers", teacher="given")
def similarity(
    teacher: nn.Module | Teacher,
    *,
    layers: Layers = "last stage",
    feature_weight: float = 150.0,
    weight: float = 0.0,
    label_weight: float = 1.0,
    temperature: float = 4.0,
) -> Objective:
    """Find the samples of a batch alike that the teacher finds alike."""
    return _matched("similarity", teacher, layers, losses.similarity, feature_weight, weight, label_weight, temperature)


@recipe("relational", paper="Park et al. 2019, arXiv:1904.05068", use="any two layers", teacher="given")
def relational(
    teacher: nn.Module | Teacher,
    *,
    layers: Layers = "last stage",
    distance_weight: float = 1.5,
    angle_weight: float = 3.0,
    weight: float = 0.0,
    label_weight: float = 1.0,
    temperature: float = 4.0,
) -> Objective:
    """Place the samples of a batch as the teacher does: match distances and angles between them.

    The authors compare embeddings. Maps work too, but angles of B samples with N features cost B³ N: where a layer
    gives the average over places, name it, as `--layers 12=12` of ckd's own small resnets, in a quarter of the time.
    """
    loss = losses.Relational(distance_weight, angle_weight)
    return _matched("relational", teacher, layers, loss, 1.0, weight, label_weight, temperature)


def pairs(layers: Layers) -> dict[str, str]:
    """The pairs of layers.

    Raises:
        ConfigError: none, or text that does not name pairs.

    >>> pairs("3=3, 7=5")
    {'3': '3', '7': '5'}
    """
    if isinstance(layers, Mapping) and layers:
        return dict(layers)
    found = [pair.partition("=") for pair in str(layers or "").split(",") if pair.strip()]
    if not found or not all(ours.strip() and theirs.strip() for ours, _, theirs in found):
        expected = 'pairs of layers, "student=teacher"'
        fix = 'Name one at least, as in layers={"layer2": "layer3"}. Only the commands know the stages of a network.'
        raise ConfigError("layers to match", expected=expected, received=repr(layers), fix=fix)
    return {ours.strip(): theirs.strip() for ours, _, theirs in found}


def _matched(
    name: str,
    teacher: nn.Module | Teacher,
    layers: Layers,
    loss: Callable[..., Tensor],
    feature_weight: float,
    weight: float,
    label_weight: float,
    temperature: float,
) -> Objective:
    losses.check_temperature(temperature)
    return distilled(
        teacher,
        loss=partial(losses.kd, temperature=temperature),
        weight=weight,
        label_weight=label_weight,
        features=pairs(layers),
        feature_loss=loss,
        feature_weight=feature_weight,
        name=name,
    )
