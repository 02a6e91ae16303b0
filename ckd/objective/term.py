"""A term: weight · mean of loss(adaptor(output(student(view(draw)))), target, groups)."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor, nn

from ckd.errors import ConfigError
from ckd.losses import takes_inputs, takes_labels
from ckd.objective.adaptor import Adaptor
from ckd.objective.batch import Batch, View
from ckd.objective.class_axis import batch_by_place, by_place, by_sample, mask_by_place, n_classes
from ckd.objective.draws import stream
from ckd.objective.groups import Groups, all_classes
from ckd.objective.moment import Moment
from ckd.objective.step import Draw, Shown, Step
from ckd.objective.targets import Target, labels
from ckd.outputs import Output, logits
from ckd.part import Part

Weight = float | Callable[[Moment], float]


class Loss(Protocol):
    """A loss per sample: outputs (B, ...) and their target to (B,).

    For logits, `classes` restricts it to some classes, as a mask or None; a loss that has an argument `labels`, as
    `dkd` has, gets the samples' labels (B,) too. A loss of tapped outputs takes the two alone, a tuple of each where
    several modules were tapped; one that has an argument `inputs`, as `token_mse` has, what the student was shown too.
    It may compare samples of the batch with each other.
    """

    def __call__(self, student: Any, target: Any, /, *, classes: Tensor | None = None) -> Tensor:
        """The loss of each sample, (B,)."""
        ...


@dataclass(frozen=True)
class Term:
    """One summand of an objective.

    Args:
        name: under which its value is logged.
        draw: where the samples come from.
        target: what the output is compared with.
        loss: how; per sample, such as `ckd.losses.cross_entropy`. None means the training loop's own criterion, which
            only the objective's criterion term may use.
        weight: a number, or a function of the `Moment`. A term of weight 0 is not drawn, shown to a network or
            computed.
        groups: over which classes; several groups get a softmax each and their losses add up. For logits.
        view: what the networks are shown of the draw; as it is unless given.
        output: of the student; its logits unless given, or `tap("layer3")`, or `features`, what the head takes in.
        adaptor: a learned map to the target's space, such as `Adaptor()`; where there are several taps, one for each,
            or one that maps them together, such as `Fusion()`.

    A draw, target, loss, view, weight or group that is a `Part` takes part in the life cycle: it sees every experience
    begin and end and every update, and its state is saved.

    Raises:
        ConfigError: what is given is of the wrong kind, or a weight that is not a finite number.
    """

    name: str
    draw: Draw = stream
    target: Target = labels
    loss: Loss | Callable[..., Tensor] | None = None
    weight: Weight = 1.0
    groups: Groups = all_classes
    view: View | None = None
    output: Output = logits
    adaptor: Adaptor | Sequence[Adaptor] | None = None

    def __post_init__(self) -> None:
        for what, value, kind, example in (
            ("draw", self.draw, Draw, 'draw=replay("a")'),
            ("target", self.target, Target, 'target=labels or target=teacher("past")'),
            ("output", self.output, Output, 'output=tap("layer3")'),
        ):
            if not isinstance(value, kind):
                expected = f"{'an' if what == 'output' else 'a'} {what} of ckd.objective"
                self._refuse(what, expected, repr(value), f"For example {example}.")
        functions: dict[str, Any] = {"groups": self.groups, "loss": self.loss, "view": self.view}
        for what, function in functions.items():
            if function is not None and not callable(function):
                self._refuse(what, "a function", repr(function), "Take one of ckd.objective, ckd.losses or ckd.views.")
        if self.loss is not None and self.output.is_logits and not _takes_classes(self.loss):
            fix = "Give it that argument, or compare the output of a module: output=tap(...)."
            self._refuse("loss", "a loss of logits, loss(student, target, classes=None)", repr(self.loss), fix)
        number = isinstance(self.weight, int | float) and not isinstance(self.weight, bool)
        if not callable(self.weight) and not (number and abs(self.weight) <= sys.float_info.max):
            expected = "a finite number or a function of the moment"
            self._refuse("weight", expected, repr(self.weight), "Use 0 to switch the term off.")
        taps = max(1, len(self.output.paths))
        if self.adaptor is not None and not (self._maps_together or self._maps_each(taps)):
            several = f"{taps} Adaptors, one for each tap, or one for all such as Fusion()"
            fix = "For example adaptor=Adaptor(), or Adaptor(module) for a map of your own."
            self._refuse("adaptor", "an Adaptor" if taps == 1 else several, repr(self.adaptor), fix)
        if self.groups is not all_classes and not self.output.is_logits:
            self._refuse("groups", "none, as they choose among logits", repr(self.groups), "Leave them out.")

    def _refuse(self, what: str, expected: str, received: str, fix: str) -> NoReturn:
        raise ConfigError(f"{what} of term {self.name!r}", expected=expected, received=received, fix=fix)

    @property
    def _maps_together(self) -> bool:
        return isinstance(self.adaptor, Adaptor) and self.adaptor.takes_several

    def _maps_each(self, taps: int) -> bool:
        return len(self.adaptors) == taps and all(isinstance(one, Adaptor) for one in self.adaptors)

    @property
    def adaptors(self) -> tuple[Adaptor, ...]:
        """One for each tap, or one for all, or none."""
        if self.adaptor is None:
            return ()
        return tuple(self.adaptor) if isinstance(self.adaptor, Sequence) else (self.adaptor,)

    @property
    def parts(self) -> dict[str, Part]:
        """What has a life cycle and belongs to the term alone, by what it is."""
        fields = {
            "draw": self.draw,
            "target": self.target,
            "loss": self.loss,
            "view": self.view,
            "weight": self.weight,
            "groups": self.groups,
        }
        adaptors = {f"adaptor {i}": adaptor for i, adaptor in enumerate(self.adaptors)}
        return {what: value for what, value in {**fields, **adaptors}.items() if isinstance(value, Part)}

    @cached_property
    def takes_labels(self) -> bool:
        """Whether the loss wants the samples' labels beside the target."""
        return self.output.is_logits and self.loss is not None and takes_labels(self.loss)

    @cached_property
    def takes_inputs(self) -> bool:
        """Whether the loss wants what the student was shown beside its outputs."""
        return not self.output.is_logits and takes_inputs(self.loss)

    def weight_at(self, moment: Moment) -> float:
        """The weight at this moment.

        Raises:
            ConfigError: a function that returns no number.
        """
        if not callable(self.weight):
            return self.weight
        found = self.weight(moment)
        try:
            return float(found)
        except (TypeError, ValueError, RuntimeError):
            self._refuse("weight", "a number from its function", repr(found), "Return 0 to switch the term off.")

    def available(self, step: Step) -> bool:
        """Whether at this step there is anything to draw and to compare with."""
        return self.draw.available(step) and self.target.available(step)

    def value(self, step: Step, shown: Shown) -> Tensor:
        """The term without its weight, a scalar: the sum over groups of the mean over samples."""
        batch, student = step.batch(shown), step.student(shown, self.output)
        target, valid = self.target.values(step, shown)
        if self.adaptors:
            student = self._adapted(student, target)
        losses = (
            self._of_logits(step.moment, batch, student, target, valid)
            if self.output.is_logits
            else self._of_taps(batch, student, target, valid)
        )
        return losses.mean() if batch.samples == losses.shape[0] else losses.sum() / batch.samples

    def _adapted(self, student: Any, target: Any) -> Any:
        if not isinstance(student, tuple) or self._maps_together:
            return self.adaptors[0](student, target)
        return tuple(adaptor(s, t) for adaptor, s, t in zip(self.adaptors, student, target, strict=True))

    def _of_taps(self, batch: Batch, student: Any, target: Any, valid: Tensor | None) -> Tensor:
        """Losses (B,) of tapped outputs."""
        assert self.loss is not None  # checked by the objective
        loss: Callable[..., Tensor] = self.loss
        if self.takes_inputs:
            loss = partial(loss, inputs=batch.inputs)
        losses = self._checked(loss(student, target), student[0] if isinstance(student, tuple) else student)
        return losses if valid is None else losses.masked_fill(~valid, 0)

    def _of_logits(self, moment: Moment, batch: Batch, student: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        """Losses (B,) of logits, the sum over the groups."""
        rows, compared, valid = by_place(student), target, mask_by_place(valid, student)
        if target.is_floating_point():
            compared = by_place(target)
            if compared.shape != rows.shape:  # the head has grown since
                width = min(rows.shape[1], compared.shape[1])
                rows, compared = rows[:, :width], compared[:, :width]
                valid = None if valid is None else valid[..., :width]
        elif target.dim() > 1:
            compared = target.flatten()
        placed = batch_by_place(batch, student)
        found = self.groups(moment, placed, n_classes(rows))
        masks = [_both(valid, group) for group in found]
        assert self.loss is not None
        loss: Callable[..., Tensor] = self.loss
        if self.takes_labels:
            loss = partial(loss, labels=placed.targets)
        losses = [self._checked(loss(rows, compared, classes=mask), rows) for mask in masks]
        if not losses:  # no group, no softmax
            return by_sample(rows.sum(1) * 0, student)
        return by_sample(losses[0] if len(losses) == 1 else torch.stack(losses).sum(0), student)

    def _checked(self, losses: Any, outputs: Tensor) -> Tensor:
        shape = getattr(losses, "shape", None)
        if shape != outputs.shape[:1]:
            expected = f"one value for each sample, ({len(outputs)},)"
            received = repr(losses) if shape is None else f"a tensor of shape {tuple(shape)}"
            self._refuse("loss", expected, received, "Losses of ckd.losses do; with torch's use reduction='none'.")
        found: Tensor = losses
        return found


def _takes_classes(loss: Any) -> bool:
    """Whether it can be called with `classes=`, as far as that can be told."""
    try:
        told = inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(one.name == "classes" or one.kind is inspect.Parameter.VAR_KEYWORD for one in told)


def _both(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return one if other is None else other
    return one & other
