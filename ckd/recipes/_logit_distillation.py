"""A trained network teaches by its logits: labels and one loss of both networks' logits.

kd has the weights and the temperature of the comparisons on CIFAR-100 (Tian et al. 2020, arXiv:1910.10699),
symmetric-kl half of its weight for each direction, dkd and standardised-kd have those of their papers there. The
weights of logit-mse, hinge and dist are ours, chosen on validation data of CIFAR-10 and CIFAR-100
(benchmarks/results/distillation.md).
"""

from __future__ import annotations

from functools import partial

from torch import nn

from ckd import losses
from ckd.objective import Objective
from ckd.recipes._distilled import distilled
from ckd.recipes.registry import recipe
from ckd.recipes.schedules import ramp
from ckd.teachers import Teacher


@recipe("kd", paper="Hinton et al. 2015, arXiv:1503.02531", use="the baseline", teacher="given")
def kd(
    teacher: nn.Module | Teacher, *, temperature: float = 4.0, weight: float = 0.9, label_weight: float = 0.1
) -> Objective:
    """Match the teacher's probabilities, softened by a temperature."""
    losses.check_temperature(temperature)
    loss = partial(losses.kd, temperature=temperature)
    return distilled(teacher, loss=loss, weight=weight, label_weight=label_weight, name="kd")


@recipe("symmetric-kl", paper="Jeffreys' divergence", use="as kd", teacher="given")
def symmetric_kl(
    teacher: nn.Module | Teacher,
    *,
    temperature: float = 4.0,
    balance: float = 1.0,
    weight: float = 0.45,
    label_weight: float = 0.1,
) -> Objective:
    """kd, and the divergence from the student to the teacher."""
    losses.check_temperature(temperature)
    loss = partial(losses.symmetric_kl, temperature=temperature, balance=balance)
    return distilled(teacher, loss=loss, weight=weight, label_weight=label_weight, name="symmetric-kl")


@recipe("logit-mse", paper="Ba & Caruana 2014, arXiv:1312.6184", use="large networks", teacher="given")
def logit_mse(teacher: nn.Module | Teacher, *, weight: float = 0.4, label_weight: float = 0.1) -> Objective:
    """Match the teacher's logits, each sample's shifted to mean 0: kd at an infinite temperature."""
    loss = partial(losses.logit_mse, zero_mean=True)
    return distilled(teacher, loss=loss, weight=weight, label_weight=label_weight, name="logit-mse")


@recipe("hinge", paper="a margin on each logit", use="a comparison", teacher="given")
def hinge(
    teacher: nn.Module | Teacher,
    *,
    margin: float = 0.0,
    balance: float = 1.0,
    weight: float = 4.0,
    label_weight: float = 0.1,
) -> Objective:
    """Give no class a lower logit than the teacher does, and, weighted apart, none a higher one."""
    loss = partial(losses.hinge, margin=margin, balance=balance)
    return distilled(teacher, loss=loss, weight=weight, label_weight=label_weight, name="hinge")


@recipe("dkd", paper="Zhao et al. 2022, arXiv:2203.08679", use="strong teachers", teacher="given")
def dkd(
    teacher: nn.Module | Teacher,
    *,
    temperature: float = 4.0,
    target_weight: float = 1.0,
    other_weight: float = 8.0,
    weight: float = 1.0,
    label_weight: float = 1.0,
    warm_up: float = 0.08,
    steps: int = 0,
) -> Objective:
    """kd in two parts: the label's class against the rest, and, more strongly, the other classes among themselves.

    The weight grows over the first `warm_up` of the training's `steps`: 20 of 240 epochs in the authors' code.
    """
    losses.check_temperature(temperature)
    loss = partial(losses.dkd, temperature=temperature, target_weight=target_weight, other_weight=other_weight)
    return distilled(teacher, loss=loss, weight=ramp(weight, warm_up * steps), label_weight=label_weight, name="dkd")


@recipe("dist", paper="Huang et al. 2022, arXiv:2205.10536", use="strong teachers", teacher="given")
def dist(
    teacher: nn.Module | Teacher,
    *,
    temperature: float = 4.0,
    sample_weight: float = 2.0,
    class_weight: float = 2.0,
    weight: float = 0.5,
    label_weight: float = 1.0,
) -> Objective:
    """Correlate with the teacher's probabilities, over the classes of a sample and over the samples of a class."""
    losses.check_temperature(temperature)
    loss = partial(losses.dist, temperature=temperature, sample_weight=sample_weight, class_weight=class_weight)
    return distilled(teacher, loss=loss, weight=weight, label_weight=label_weight, name="dist")


@recipe("standardised-kd", paper="Sun et al. 2024, arXiv:2403.01427", use="as kd", teacher="given")
def standardised_kd(
    teacher: nn.Module | Teacher, *, temperature: float = 2.0, weight: float = 9.0, label_weight: float = 0.1
) -> Objective:
    """kd of logits that have mean 0 and standard deviation 1 in each sample: their order and shape, not their size."""
    losses.check_temperature(temperature)
    loss = losses.Standardised(partial(losses.kd, temperature=temperature))
    return distilled(teacher, loss=loss, weight=weight, label_weight=label_weight, name="standardised-kd")
