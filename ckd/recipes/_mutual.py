"""Deep mutual learning: two students teach each other. Zhang et al. 2018, arXiv:1706.00384, eq. 4."""

from __future__ import annotations

from functools import partial

from ckd import losses
from ckd.objective import Objective
from ckd.recipes._distilled import distilled
from ckd.recipes.registry import recipe
from ckd.teachers import Teacher


@recipe("mutual", paper="Zhang et al. 2018, arXiv:1706.00384", use="no trained teacher", teacher="peer")
def mutual(teacher: Teacher, *, temperature: float = 1.0, weight: float = 1.0, label_weight: float = 1.0) -> Objective:
    """Match the probabilities of a second student, which learns beside the first and from it."""
    losses.check_temperature(temperature)
    loss = partial(losses.kd, temperature=temperature)
    return distilled(teacher, loss=loss, weight=weight, label_weight=label_weight, name="mutual")
