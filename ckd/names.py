"""Names as people write them."""

from __future__ import annotations

from collections.abc import Iterable


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


def _plain(name: str) -> str:
    letters = name.lower().replace("-", "").replace("_", "").replace(" ", "")
    return letters.replace("plusplus", "pp").replace("+", "p")
