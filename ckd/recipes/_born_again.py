"""Born-again networks: the teacher is the same network, trained before. Furlanello et al. 2018, arXiv:1805.04770."""

from __future__ import annotations

from functools import partial

from torch import nn

from ckd import losses
from ckd.objective import Objective
from ckd.recipes._distilled import distilled
from ckd.recipes.registry import recipe
from ckd.teachers import Teacher


@recipe("born-again", paper="Furlanello et al. 2018, arXiv:1805.04770", use="no larger network", teacher="past")
def born_again(
    teacher: nn.Module | Teacher, *, temperature: float = 1.0, weight: float = 1.0, label_weight: float = 1.0
) -> Objective:
    """Match the probabilities of the same network, trained before, beside the labels; once or several generations."""
    losses.check_temperature(temperature)
    loss = partial(losses.kd, temperature=temperature)
    return distilled(teacher, loss=loss, weight=weight, label_weight=label_weight, name="born-again")
