"""How a student is shown stream and memory: together or one after the other, decided once for each experience."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from ckd.engine.plan import Plan
from ckd.objective.objective import Objective
from ckd.objective.step import Step

RANDOM_MODULES = (nn.modules.dropout._DropoutNd, nn.RReLU)
RANDOM_NAMES = {"StochasticDepth", "DropPath"}
"""Random modules of libraries that ckd does not import (torchvision, timm)."""


@dataclass
class Passes:
    """The forward passes of an experience.

    Attributes:
        joint: whether the student sees everything in one forward pass.
        unique: whether a remembered sample that several draws took is shown once.
        head: path of the linear layer that gives the logits, where a term or part needs it.
    """

    joint: bool
    unique: bool
    head: str | None = None
    _plans: dict[tuple[bool, ...], Plan] = field(default_factory=dict)

    @classmethod
    def of(
        cls, student: nn.Module, objective: Objective, *, joint: bool | None, unique: bool, random: bool, cpu: bool
    ) -> Passes:
        """Decide.

        Args:
            student: the network that trains.
            objective: says what a network with batch statistics should do.
            joint: what the user wants; None to decide here.
            unique: whether the user allows it.
            random: whether stored samples are prepared at random, so that no two draws of one are equal.
            cpu: whether the student is on a CPU; elsewhere batches of changing size cost more than they save.
        """
        if joint is None:
            joint = not uses_batch_statistics(student) or objective.joint_with_batchnorm
        pays = cpu and not is_compiled(student) and not random
        return cls(joint, unique and joint and pays and judges_each_sample_alone(student))

    def plan(self, active: Sequence[bool], objective: Objective, step: Step) -> Plan:
        """What `step` needs if of all terms these are active; the same for all steps of the experience."""
        key = (step.has_memory, *active)
        if key not in self._plans:
            terms = [term for term, is_active in zip(objective.terms, active, strict=True) if is_active]
            self._plans[key] = Plan(terms, objective.criterion, step)
        return self._plans[key]


def uses_batch_statistics(model: nn.Module) -> bool:
    """Whether the output for a sample depends on the others in the batch: BatchNorm, or other running statistics."""
    return any(
        isinstance(module, nn.modules.batchnorm._BatchNorm) or _has_running(module) for module in model.modules()
    )


def _has_running(module: nn.Module) -> bool:
    """Whether it keeps running statistics: as buffers, or as plain tensors as Avalanche's BatchRenorm does."""
    own = {**vars(module), **module._buffers}
    return any(name.startswith("running_") and isinstance(value, Tensor) for name, value in own.items())


def judges_each_sample_alone(model: nn.Module) -> bool:
    """Whether the output for a sample is the same whatever else is in the batch and however often it is there.

    What a forward method calls without a module of its own (functional dropout) is not seen; a sample that is shown
    once then has one mask where it would have had two.
    """
    random = any(
        isinstance(module, RANDOM_MODULES)
        or type(module).__name__ in RANDOM_NAMES
        or (isinstance(module, nn.RNNBase | nn.MultiheadAttention) and module.dropout > 0)
        for module in model.modules()
    )
    return not random and not uses_batch_statistics(model)


def is_compiled(model: nn.Module) -> bool:
    """Whether it runs as compiled code, which is made anew for other sizes of a batch."""
    return model._compiled_call_impl is not None or hasattr(model, "_orig_mod")
