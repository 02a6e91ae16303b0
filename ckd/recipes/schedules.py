"""Weights that change while a network trains."""

from __future__ import annotations

from dataclasses import dataclass

from ckd.objective.moment import Moment
from ckd.objective.term import Weight


@dataclass(frozen=True)
class Ramp:
    """From near 0 to `weight` in a straight line over the first `steps`."""

    weight: float
    steps: float

    def __call__(self, moment: Moment) -> float:
        """The weight at a moment."""
        return self.weight * min(1.0, (moment.iteration + 1) / self.steps)


def ramp(weight: float, steps: float) -> Weight:
    """`Ramp`, or the weight itself where there are no steps to grow over.

    >>> ramp(2.0, 4)(Moment(iteration=1))
    1.0
    """
    return Ramp(weight, steps) if steps > 1 else weight
