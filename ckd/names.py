"""Names as people write them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def known_as(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` stands for, whatever its case, hyphens and plus signs; None if there is not just one.

    >>> [known_as(name, ["der", "der++", "er-ace"]) for name in ("DER", "derpp", "der_plus_plus", "ER_ACE", "er")]
    ['der', 'der++', 'der++', 'er-ace', None]
    """
    names = list(known)
    if name in names:
        return name
    found = [other for other in names if _plain(other) == _plain(name)]
    return found[0] if len(found) == 1 else None


def short_name(benchmark: str) -> str:
    """How folders, tables and files call a benchmark that may be named by its path.

    >>> [short_name(name) for name in ("split-digits", "here/mine.npz", "here/mine.py:rings", "package.module:rings")]
    ['split-digits', 'mine', 'mine.py-rings', 'package.module-rings']
    """
    return Path(benchmark).name.removesuffix(".npz").replace(":", "-")


def _plain(name: str) -> str:
    letters = name.lower().replace("-", "").replace("_", "").replace(" ", "")
    return letters.replace("plusplus", "pp").replace("+", "p")
