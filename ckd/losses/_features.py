"""Which features can be compared."""

from __future__ import annotations

from torch import Tensor

from ckd.errors import ConfigError


def same_shape(student: Tensor, target: Tensor) -> None:
    """Raise unless both have one shape."""
    if student.shape != target.shape:
        raise ConfigError(
            "features to compare",
            expected=f"two tensors of one shape, the target's {tuple(target.shape)}",
            received=f"student features of shape {tuple(student.shape)}",
            fix="Give the term an adaptor, which learns a map from one to the other.",
        )


def same_batch(student: Tensor, teacher: Tensor) -> None:
    """Raise unless both are of as many samples."""
    if student.dim() < 2 or teacher.dim() < 2 or len(student) != len(teacher):
        raise ConfigError(
            "features to relate",
            expected=f"two tensors (batch, features...) of as many samples, the teacher's is {tuple(teacher.shape)}",
            received=f"student features of shape {tuple(student.shape)}",
            fix="Show both networks the same samples.",
        )
