"""Numbers that a user gives, checked before anything is done with them."""

from __future__ import annotations

import math

from ckd.errors import ConfigError

LARGEST = 2**63 - 1
"""What fits into int64."""

LARGEST_FLOAT = 3.4028234663852886e38
"""The largest float32."""


def check_whole(what: str, value: object, *, least: int = 0, most: int = LARGEST, fix: str = "Leave it out.") -> None:
    """Raise a ConfigError for anything but a whole number from `least` to `most`.

    >>> check_whole("epochs", 0, least=1)
    Traceback (most recent call last):
    ckd.errors.ConfigError: epochs: expected a whole number, 1 or more; received 0. Leave it out.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        small = isinstance(value, int) and value <= most
        expected = f"a whole number, {least} or more" if small else f"a whole number from {least} to {most}"
        raise ConfigError(what, expected=expected, received=shown(value), fix=fix)


def check_number(what: str, value: object, *, fits: str = "0 or more", fix: str = "Leave it out.") -> None:
    """Raise a ConfigError for anything but a finite number that `fits`, as the names of `RANGES` say.

    >>> check_number("momentum", 1.0, fits="from 0 to below 1")
    Traceback (most recent call last):
    ckd.errors.ConfigError: momentum: expected from 0 to below 1; received 1.0. Leave it out.
    """
    low, high, ends = RANGES[fits]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and low <= value <= high and (value > low or ends[0]) and (value < high or ends[1])):  # type: ignore[operator]
        many = isinstance(value, int | float) and value > LARGEST_FLOAT
        expected = f"{fits}, at most {LARGEST_FLOAT:g}" if many and high == LARGEST_FLOAT else fits
        raise ConfigError(what, expected=expected, received=shown(value), fix=fix)


RANGES: dict[str, tuple[float, float, tuple[bool, bool]]] = {
    "0 or more": (0, LARGEST_FLOAT, (True, True)),
    "above 0": (0, LARGEST_FLOAT, (False, True)),
    "from 0 to 1": (0, 1, (True, True)),
    "from 0 to below 1": (0, 1, (True, False)),
}
"""Least, most, and whether these two belong to it."""


def shown(value: object) -> str:
    """The value as an error shows it: a number of hundreds of digits as its power of ten.

    >>> shown(10**400), shown(7)
    ('about 10**400', '7')
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**40:
        return f"about {'-' if value < 0 else ''}10**{round(math.log10(abs(value)))}"
    return repr(value)
