"""What the extra `export` installs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ckd.errors import ConfigError


def extra(*names: str) -> Any:
    """The first of these modules, all of them imported.

    Raises:
        ConfigError: one that is not installed.
    """
    try:
        first, *_ = [import_module(name) for name in names]
    except ImportError as error:
        fix = "Install it: pip install 'avalanche-ckd[export]'"
        raise ConfigError("ckd.deploy", expected=", ".join(names), received=error, fix=fix) from error
    return first
