"""A term: weight · mean of loss(student(view(draw)), target, groups)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from ckd.errors import ConfigError
from ckd.objective.context import Context
from ckd.objective.draws import Draw, View
from ckd.objective.groups import Groups, all_classes
from ckd.objective.targets import Target, labels
from ckd.part import Part

if TYPE_CHECKING:
    from ckd.objective.plan import Question
    from ckd.objective.step import Step

Weight = float | Callable[[Context], float]


class Loss(Protocol):
    """A loss per sample: (B, C) logits and their target to (B,), over the `classes` given as a mask or None."""

    def __call__(self, student: Tensor, target: Tensor, /, *, classes: Tensor | None = None) -> Tensor:
        """The loss of each sample, (B,)."""
        ...


@dataclass(frozen=True)
class Term:
    """One summand of an objective.

    Args:
        name: under which its value is logged.
        draw: where the samples come from.
        target: what the answers are compared with.
        loss: how; per sample, such as `ckd.losses.cross_entropy`. None means the strategy's own
            criterion, which only the objective's criterion term may use.
        weight: a number, or a function of the `Context`. A term of weight 0 is not drawn, asked or computed.
        groups: over which classes; several groups get a softmax each and their losses add up.
        view: what the network is shown of the draw; as it is unless given.

    Raises:
        ConfigError: a weight that is not a finite number.
    """

    name: str
    draw: Draw
    target: Target = labels
    loss: Loss | None = None
    weight: Weight = 1.0
    groups: Groups = all_classes
    view: View | None = None

    def __post_init__(self) -> None:
        for what, value, kind in (("draw", self.draw, Draw), ("target", self.target, Target)):
            if not isinstance(value, kind):
                raise ConfigError(
                    f"{what} of term {self.name!r}",
                    expected=f"a {what} of ckd.objective",
                    received=repr(value),
                    fix="For example draw=memory('a'), target=labels.",
                )
        for what, function in (("groups", self.groups), ("loss", self.loss), ("view", self.view)):
            if function is not None and not callable(function):
                raise ConfigError(
                    f"{what} of term {self.name!r}",
                    expected="a function",
                    received=repr(function),
                    fix="Import it from ckd.objective or ckd.losses.",
                )
        number = isinstance(self.weight, int | float)
        if not callable(self.weight) and not (number and math.isfinite(self.weight)):
            raise ConfigError(
                f"weight of term {self.name!r}",
                expected="a finite number or a function of the context",
                received=repr(self.weight),
                fix="Use 0 to switch the term off.",
            )

    @property
    def parts(self) -> tuple[Part, ...]:
        """Parts with a life cycle that belong to the term alone."""
        return ()

    def weigh(self, context: Context) -> float:
        """The weight at this moment."""
        return float(self.weight(context)) if callable(self.weight) else self.weight

    def available(self, step: Step) -> bool:
        """Whether at this step there is anything to draw and to compare with."""
        return self.draw.available(step) and self.target.available(step)

    def value(self, step: Step, question: Question) -> Tensor:
        """The term without its weight, a scalar: the sum over groups of the mean over samples."""
        assert self.loss is not None  # checked by the objective
        batch, student = step.batch(question), step.student(question)
        target, valid = self.target.values(step, question)
        if target.dim() == 2 and target.shape != student.shape:  # the head has grown since
            width = min(student.shape[1], target.shape[1])
            student, target = student[:, :width], target[:, :width]
            valid = None if valid is None else valid[..., :width]
        masks = [_both(valid, group) for group in self.groups(step, batch, student.shape[1])]
        losses = [self._checked(self.loss(student, target, classes=mask), student) for mask in masks]
        if not losses:  # no group, no softmax
            return student.sum() * 0
        total = losses[0] if len(losses) == 1 else torch.stack(losses).sum(0)
        return total.mean() if batch.samples == total.shape[0] else total.sum() / batch.samples

    def _checked(self, losses: Tensor, student: Tensor) -> Tensor:
        if losses.shape != student.shape[:1]:
            raise ConfigError(
                f"loss of term {self.name!r}",
                expected=f"one value for each sample, ({len(student)},)",
                received=f"a tensor of shape {tuple(losses.shape)}",
                fix="Losses of ckd.losses do; with torch's use reduction='none'.",
            )
        return losses


def _both(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return one if other is None else other
    return one & other
