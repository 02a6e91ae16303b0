"""The exceptions of ckd: each says what was expected, what arrived and what probably mends it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CkdError(Exception):
    """Base of every error that ckd raises on purpose."""

    def __init__(self, what: str, *, expected: object, received: object, fix: str) -> None:
        super().__init__(f"{what}: expected {expected}; received {received}. {fix}")
        self.what, self.expected, self.received, self.fix = what, expected, received, fix

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.expected, self.received, self.fix)


def _rebuild(kind: type[CkdError], what: str, expected: object, received: object, fix: str) -> CkdError:
    return kind(what, expected=expected, received=received, fix=fix)


class ConfigError(CkdError, ValueError):
    """A setting has a value that cannot work."""


class UnknownNameError(ConfigError):
    """A name is not in a registry."""

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
        """Build the error for `name`, with the nearest of the `known` names as the likely fix."""
        names = sorted(known)
        if not names:
            return cls(f"unknown {kind}", expected="none, there are none", received=repr(name), fix="Leave it out.")
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
        fix = f"Did you mean {' or '.join(map(repr, near))}?" if near else "Choose one of the expected names."
        return cls(f"unknown {kind}", expected=f"one of {', '.join(names)}", received=repr(name), fix=fix)


class DataError(CkdError, ValueError):
    """Data, or the place it should be in, cannot be used."""


class ModelError(CkdError, TypeError):
    """A model returns what the objective cannot use."""


class NonFiniteLossError(CkdError, ArithmeticError):
    """A loss became NaN or infinite."""


class LoaderConflictError(CkdError, RuntimeError):
    """Two plugins both want to provide the mini-batches."""
