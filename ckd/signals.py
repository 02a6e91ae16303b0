"""Ctrl-C and SIGTERM as one kind of exception, which says which of them it was."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """The process was asked to end.

    Args:
        signum: the signal.
        saved: whether what was under way was saved first.
    """

    def __init__(self, signum: int, *, saved: bool = False) -> None:
        super().__init__(signum)
        self.signum, self.saved = signum, saved

    @property
    def status(self) -> int:
        """The exit status of a command that was ended so: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + self.signum


_unheard: list[int] = []
"""Signals that came, until nothing handles them any more."""

_depth = 0
"""Of nested `handling`."""


def note(signum: int) -> None:
    """Let `raise_noted` raise `Interrupted` for this signal, within `handling`."""
    if _depth:
        _unheard.append(signum)


def raise_interrupted(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler takes both
    """A handler that raises `Interrupted`, and notes it."""
    note(signum)
    raise Interrupted(signum)


def raise_noted() -> None:
    """Raise `Interrupted` for a signal that came before, if any: for loops, between two steps.

    What a handler raises in a callback of a third party's library may be printed and dropped there.
    """
    if _unheard:
        raise Interrupted(_unheard[0])


@contextmanager
def handling(handler: Callable[[int, FrameType | None], Any], *signals: signal.Signals) -> Iterator[None]:
    """With this handler of the signals, but of those that are ignored; they are handled as before afterwards.

    Does nothing outside the main thread.
    """
    global _depth
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.signal(one, handler) for one in signals if signal.getsignal(one) is not signal.SIG_IGN}
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if not _depth:
            _unheard.clear()
        for one, old in before.items():
            signal.signal(one, signal.SIG_DFL if old is None else old)
