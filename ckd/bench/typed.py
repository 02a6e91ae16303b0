"""Whether what a file says has the types that it should have."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import fields
from typing import Any


def check_fields(cls: type, given: Mapping[str, Any]) -> None:
    """Raise a TypeError for a value that is not of the type that a dataclass gives its field.

    >>> from ckd.bench.spec import NetworkFile
    >>> check_fields(NetworkFile, {"network": 3})
    Traceback (most recent call last):
    TypeError: network is no str: 3
    """
    hints = typing.get_type_hints(cls)
    for name in (field.name for field in fields(cls)):
        if name in given:
            check(name, given[name], hints[name])


def check(name: str, value: object, hint: Any) -> None:
    """Raise a TypeError for a value that is not of this type, or holds one that is not."""
    if not _is(value, hint):
        raise TypeError(f"{name} is no {getattr(hint, '__name__', hint)}: {repr(value)[:80]}")


def _is(value: object, hint: Any) -> bool:
    of, inner = typing.get_origin(hint), typing.get_args(hint)
    if of in (types.UnionType, typing.Union):
        return any(_is(value, one) for one in inner)
    if of is dict:
        return isinstance(value, dict) and all(_is(k, inner[0]) and _is(v, inner[1]) for k, v in value.items())
    if of is not None:
        return isinstance(value, list | tuple)  # whose entries are read one by one
    if hint is Any:
        return True
    if hint is float:
        return isinstance(value, float | int) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is not int or not isinstance(value, bool))
