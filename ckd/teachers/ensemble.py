"""Several teachers as one: a weighted mean of what they say.

Hinton, Vinyals & Dean 2015, arXiv:1503.02531, section 2 (mean of softened probabilities, or of logits).
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ckd.errors import ConfigError
from ckd.outputs import Output, class_axis, logits
from ckd.part import Part
from ckd.teachers.teacher import Teacher

Weights = Sequence[float] | Callable[[Tensor], Tensor]
"""One number for each teacher, or (K, B, ...) logits of K teachers to weights (K, B) of each for each sample."""


class Ensemble(Teacher):
    """A weighted mean of several teachers; a class is valid where all of them know it.

    With `mean="probabilities"` its logits are T · log Σ_k w_k softmax(z_k / T): at temperature T they have the mean of
    the tempered probabilities, each a softmax over the valid classes. With `mean="logits"` they are Σ_k w_k z_k.
    Weights are normalised to sum to 1.

    Args:
        teachers: two or more.
        weights: see `Weights`; equal unless given.
        mean: of what.
        temperature: T of the loss that it is used with; only `mean="probabilities"` needs it.

    Raises:
        ConfigError: fewer than two teachers, weights that do not fit, a temperature that is not above 0.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        *,
        weights: Weights | None = None,
        mean: Literal["probabilities", "logits"] = "probabilities",
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.teachers = tuple(teachers)
        if len(self.teachers) < 2 or not all(isinstance(one, Teacher) for one in self.teachers):
            fix = "For one network use Fixed(network)."
            raise ConfigError("ensemble", expected="two teachers or more", received=repr(teachers), fix=fix)
        numbers = weights is None or callable(weights)
        if not numbers and (len(weights) != len(self.teachers) or min(weights) < 0 or not 0 < sum(weights) < math.inf):  # type: ignore[arg-type]
            expected = f"{len(self.teachers)} numbers from 0, not all 0"
            raise ConfigError("weights of the ensemble", expected=expected, received=weights, fix="Leave them out.")
        if mean not in ("probabilities", "logits"):
            expected = '"probabilities" or "logits"'
            raise ConfigError("mean of the ensemble", expected=expected, received=repr(mean), fix="Leave it out.")
        if not 0 < temperature < math.inf:
            fix = "Use that of the loss."
            raise ConfigError("temperature of the ensemble", expected="above 0", received=temperature, fix=fix)
        self.weights, self.mean, self.temperature = weights, mean, temperature
        self.needs_boundaries = any(teacher.needs_boundaries for teacher in self.teachers)

    @property
    def members(self) -> dict[str, Part]:
        """The teachers, by number."""
        return {f"member {i}": teacher for i, teacher in enumerate(self.teachers)}

    @property
    def ready(self) -> bool:
        """Whether all of them are."""
        return all(teacher.ready for teacher in self.teachers)

    def outputs(
        self, inputs: Tensor, tasks: Tensor | None = None, wanted: Sequence[Output] = (logits,)
    ) -> dict[Output, Any]:
        """Logits (B, C), (B, T, C) or (B, C, H, W), C the narrowest head's. It has no modules inside to tap."""
        if any(not output.is_logits for output in wanted):
            fix = "Take features from one of its teachers, named on its own."
            raise ConfigError("ensemble", expected="logits to be wanted", received="features", fix=fix)
        each = [teacher.outputs(inputs, tasks)[logits] for teacher in self.teachers]
        axis = class_axis(each[0])
        width = min(one.shape[axis] for one in each)
        valid = self.valid(width, tasks, inputs.device)
        return {logits: self._mean(torch.stack([one.narrow(axis, 0, width) for one in each]), valid)}

    def _mean(self, each: Tensor, valid: Tensor | None) -> Tensor:
        """Logits (K, B, ...) of each, and classes (C,) or (B, C) that all know, to the logits of all, (B, ...)."""
        if callable(self.weights):
            weights = self.weights(each)
        else:
            weights = each.new_tensor(self.weights or [1.0] * len(each))[:, None]
        weights = (weights / weights.sum(0)).reshape(*weights.shape, *[1] * (each.dim() - 2))  # (K, B or 1, 1, ...)
        if self.mean == "logits":
            return (weights * each).sum(0)
        axis, scaled = 2 if each.dim() == 5 else -1, each / self.temperature
        log_p = scaled.log_softmax(axis)
        if valid is not None:
            if each.dim() == 5:
                valid = valid[..., None, None]
            elif each.dim() == 4 and valid.dim() == 2:
                valid = valid[:, None]
            among = scaled.masked_fill(~valid, torch.finfo(scaled.dtype).min).log_softmax(axis)
            log_p = torch.where(valid, among, log_p)
        return self.temperature * (log_p + weights.log()).logsumexp(0)

    def valid(self, width: int, tasks: Tensor | None, device: torch.device) -> Tensor | None:
        """The classes that all of them know."""
        masks = [mask for t in self.teachers if (mask := t.valid(width, tasks, device)) is not None]
        return functools.reduce(torch.logical_and, masks) if masks else None

    def fingerprint(self) -> str:
        """SHA-256 of its teachers' fingerprints and of how they are averaged; of a function of weights, its name."""
        weights = getattr(self.weights, "__qualname__", "") if callable(self.weights) else [*(self.weights or ())]
        how = f"{self.mean} {self.temperature} {weights}"
        return hashlib.sha256(" ".join([how, *(one.fingerprint() for one in self.teachers)]).encode()).hexdigest()

    def state_dict(self) -> dict[str, Any]:
        """Nothing of its own: its teachers are parts like any other."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any], student: nn.Module) -> None:
        """Nothing to restore."""
