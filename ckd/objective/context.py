"""What a step knows of the run around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ckd.classes import Classes
from ckd.part import Ask

Prepare = Callable[..., Tensor]
"""(raw samples (B, ...), generator for augmentation) -> network inputs (B, ...), written into `out=` if it is given."""


@dataclass(frozen=True)
class Context:
    """The moment of a training step.

    Attributes:
        experience: index of the experience, counted by task boundaries crossed.
        iteration: optimiser steps taken before this one, over all experiences.
        classes: which classes are old, current and seen.
        ask: how a model of this kind is called: (model, inputs, task labels or None) -> logits.
        prepare: how remembered samples become network inputs.
        merge: whether a sample that several draws took is asked about once, as the answer to it depends on nothing else
            in the batch and nothing random.
    """

    experience: int
    iteration: int
    classes: Classes
    ask: Ask
    prepare: Prepare
    merge: bool = False
