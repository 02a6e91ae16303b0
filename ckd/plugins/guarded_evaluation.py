"""Evaluation after which the strategy has its own model, also where a metric or a logger raises in the middle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class GuardedEvaluation:
    """In the place of a strategy's `eval`: it is called, and then `restore(strategy)`, whatever it raised.

    Avalanche calls `after_eval` only where nothing was raised.
    """

    def __init__(self, strategy: Any, restore: Callable[[Any], None]) -> None:
        self._strategy, self._restore = strategy, restore

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`strategy.eval`, as its class defines it."""
        try:
            return type(self._strategy).eval(self._strategy, *args, **kwargs)
        finally:
            self._restore(self._strategy)

    @classmethod
    def put(cls, strategy: Any, restore: Callable[[Any], None]) -> None:
        """Let the strategy evaluate so; one whose `eval` is its own already, by whomever, is left as it is."""
        own = vars(strategy).get("eval")
        if own is None or isinstance(own, cls):
            strategy.eval = cls(strategy, restore)
