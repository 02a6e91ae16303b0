"""Where `ckd tune` looks for a value."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ckd.errors import ConfigError


@dataclass(frozen=True)
class Range:
    """Where a hyper-parameter is looked for, both ends included; by its logarithm if they are a factor of 4 apart.

    Raises:
        ConfigError: ends that are not in order.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            received, fix = f"{self.low} to {self.high}", "For example lr=0.03:0.3."
            raise ConfigError("search range", expected="LOW below HIGH", received=received, fix=fix)

    @property
    def log(self) -> bool:
        """Whether it is searched by its logarithm."""
        return self.low > 0 and self.high >= 4 * self.low

    @property
    def tried(self) -> tuple[float, ...]:
        """Values that must work before a search begins: both ends."""
        return self.low, self.high


@dataclass(frozen=True)
class Choice:
    """Values of which one is chosen: numbers, recipes, teachers.

    Raises:
        ConfigError: fewer than two, or one of them twice.
    """

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if len(self.values) < 2 or len(set(self.values)) < len(self.values):
            received, fix = ", ".join(map(str, self.values)), "For example temperature=1,2,4."
            raise ConfigError("values to choose from", expected="two or more, each once", received=received, fix=fix)

    @property
    def tried(self) -> tuple[Any, ...]:
        """Values that must work before a search begins: all."""
        return self.values


Space = Mapping[str, Range | Choice]
"""What is searched, by the name of the hyper-parameter, or `recipe`, `teacher` and `lr`."""


def parse_search(text: str) -> tuple[str, Range | Choice]:
    """("lr", Range(0.03, 0.3)) of "lr=0.03:0.3", ("recipe", Choice(("kd", "dkd"))) of "recipe=kd,dkd".

    Raises:
        ConfigError: other text.
    """
    name, _, values = text.partition("=")
    if "," in values:
        return name, Choice(tuple(map(_value, values.split(","))))
    try:
        low, high = map(float, values.split(":"))
    except ValueError:
        received, fix = repr(text), "For example --search lr=0.03:0.3, or --search temperature=1,2,4."
        expected = "NAME=LOW:HIGH or NAME=A,B,C"
        raise ConfigError("--search", expected=expected, received=received, fix=fix) from None
    return name, Range(low, high)


def _value(text: str) -> Any:
    """A number, or the text itself."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return text.strip()
