"""Asking the student: one forward pass for stream and memory together, or one for each."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from ckd.objective import STREAM, Batch, Question, Step, join
from ckd.plugins.resident_loader import ResidentLoader
from ckd.taps import head_tapped


class Student:
    """The strategy's own forward pass, asked about everything that a step wants to know.

    With a joint pass the questions are appended to the mini-batch before the strategy's forward and cut off after it,
    so that the criterion, the metrics and other plugins see the stream alone.
    """

    def __init__(self) -> None:
        self._mbatch: list[Tensor] | None = None
        self._tap = ExitStack()
        self._taken: list[Tensor] = []

    def __reduce__(self) -> tuple[type[Student], tuple[()]]:
        return Student, ()  # what it holds belongs to one step

    def prepare(self, strategy: Any, step: Step, *, joint: bool) -> None:
        """Before the forward pass: append the questions if it is a `joint` one, tap the head if features are needed."""
        self._tap.close()  # left open only by a forward pass that failed
        self._mbatch = None
        if step.plan.needs_features:
            self._taken = self._tap.enter_context(head_tapped(strategy.model))
        questions, everything = step.questions, step.plan.everything
        if joint and questions:
            self._mbatch = strategy.mbatch
            together = step.batch(everything) if everything else join([step.stream, *map(step.batch, questions)])
            strategy.mbatch = as_mbatch(together, strategy.mbatch)

    def collect(self, strategy: Any, step: Step) -> None:
        """After the forward pass: note every answer in the step, and give the strategy back its own."""
        asked, features = (STREAM, *step.questions), self._features(step)
        if self._mbatch is not None:
            strategy.mbatch, self._mbatch = self._mbatch, None
            sizes = [step.batch(question).targets.shape[0] for question in asked]
            if step.plan.everything:
                step.answer(step.plan.everything, strategy.mb_output, features)
            answers = strategy.mb_output.split_with_sizes(sizes)
            strategy.mb_output = answers[0]
            split = [None] * len(sizes) if features is None else features.split_with_sizes(sizes)
            for question, answer, feature in zip(asked, answers, split, strict=True):
                step.answer(question, answer, feature)
        else:
            step.answer(STREAM, strategy.mb_output, features)
            for question in asked[1:]:
                step.answer(question, self._forward(strategy, step, question), self._features(step))
        if features is not None:
            self._tap.close()

    def _features(self, step: Step) -> Tensor | None:
        """What the head took in at the last forward pass, if a term asks for it."""
        return self._taken[-1] if step.plan.needs_features else None

    def _forward(self, strategy: Any, step: Step, question: Question) -> Tensor:
        """The strategy's forward pass on another batch."""
        mbatch = strategy.mbatch
        strategy.mbatch = as_mbatch(step.batch(question), mbatch)
        try:
            answer: Tensor = strategy.forward()
        finally:
            strategy.mbatch = mbatch
        return answer


def stream_of(strategy: Any, *, by_task: bool) -> Batch:
    """The strategy's mini-batch; `by_task` with its task labels."""
    mbatch, loader = strategy.mbatch, strategy.dataloader
    room = loader.room(mbatch[0]) if isinstance(loader, ResidentLoader) else None
    return Batch(mbatch[0], mbatch[1], mbatch[-1] if by_task else None, room=room)


def as_mbatch(batch: Batch, like: list[Tensor]) -> list[Tensor]:
    """A mini-batch for the strategy, with the columns of the one it has."""
    further = like[2:] if batch.tasks is None else [*like[2:-1], batch.tasks]
    return [batch.inputs, batch.targets, *further]


def rate_of(optimizer: torch.optim.Optimizer) -> float:
    """How far a step goes along a steady gradient: the largest lr / (1 - momentum) of its groups; 0 without an lr."""
    return float(max(group.get("lr", 0.0) / (1 - group.get("momentum", 0.0)) for group in optimizer.param_groups))
