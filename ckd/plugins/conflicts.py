"""Plugins that cannot share a strategy, refused when training starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from avalanche.training.plugins import CoPEPlugin, GSS_greedyPlugin, RARPlugin, ReplayPlugin
from avalanche.training.plugins.bic import BiCPlugin

from ckd.errors import LoaderConflictError

REPLACE_THE_LOADER = (ReplayPlugin, RARPlugin, CoPEPlugin, GSS_greedyPlugin, BiCPlugin)
"""Avalanche's plugins that assign `strategy.dataloader`: of two, the last would silently win."""


def refuse_two(plugins: Sequence[Any], kinds: type | tuple[type, ...], fix: str) -> None:
    """Raise if more than one of the plugins is of these kinds."""
    found = [type(plugin).__name__ for plugin in plugins if isinstance(plugin, kinds)]
    if len(found) > 1:
        raise LoaderConflictError(
            "plugins of the strategy",
            expected="one that provides the mini-batches",
            received=" and ".join(found),
            fix=fix,
        )
