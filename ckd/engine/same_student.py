"""Which student a pickled run belongs to, as the student itself is not in it."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

Left = dict[str, tuple[tuple[int, ...], str]]
"""Shape and digest of each parameter, by name."""


def left_by(student: nn.Module) -> Left:
    """What is noted of a student."""
    return {name: (tuple(value.shape), _digest(value)) for name, value in _weights(student).items()}


def belongs(student: nn.Module, left: Left) -> bool:
    """Whether this is the student, or a copy of it, whose layers may have grown since.

    >>> one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    >>> belongs(one, left_by(one)), belongs(other, left_by(one))
    (True, False)
    """
    known = _weights(student)
    return all(name in known and _corner(known[name], shape) == digest for name, (shape, digest) in left.items())


def _weights(student: nn.Module) -> dict[str, Tensor]:
    return {name.replace("_orig_mod.", ""): value for name, value in student.named_parameters()}


def _corner(value: Tensor, shape: tuple[int, ...]) -> str | None:
    """The digest of what a tensor held when it had this shape; None for one that never had."""
    if value.dim() != len(shape) or any(now < then for now, then in zip(value.shape, shape, strict=True)):
        return None
    return _digest(value[tuple(map(slice, shape))])


def _digest(value: Any) -> str:
    plain = value.detach().cpu().contiguous().flatten().view(torch.uint8)
    return hashlib.sha256(plain.numpy().data).hexdigest()
