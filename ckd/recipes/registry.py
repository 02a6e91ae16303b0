"""The recipes by name: how they are built, what they store, where they come from."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from ckd.errors import ConfigError, UnknownNameError
from ckd.objective import Objective

Strategy = Literal["Naive", "Cumulative", "JointTraining"]
Build = Callable[..., Objective]
B = TypeVar("B", bound=Build)


@dataclass(frozen=True)
class Recipe:
    """A named method.

    Attributes:
        name: as on the command line.
        build: makes the objective; its keyword arguments are the hyper-parameters.
        paper: where the method comes from.
        stores: what it keeps beside the model.
        strategy: the Avalanche strategy that it runs in; all but the references run in `Naive`.
    """

    name: str
    build: Build
    paper: str
    stores: str
    strategy: Strategy = "Naive"
    defaults: dict[str, Any] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The first line of the builder's docstring."""
        return (inspect.getdoc(self.build) or "").split("\n")[0]

    def settings(self, **wanted: Any) -> dict[str, Any]:
        """Every hyper-parameter with its value: the `wanted` ones, the defaults for the rest.

        Raises:
            UnknownNameError: a hyper-parameter that the recipe does not have.
            ConfigError: a value that is not a number, or not a whole number where it must be.
        """
        for name in wanted:
            if name not in self.defaults:
                raise UnknownNameError.of(f"hyper-parameter of {self.name}", name, self.defaults)
        return {**self.defaults, **{name: _like(self.defaults[name], name, v) for name, v in wanted.items()}}


def _like(default: Any, name: str, value: Any) -> Any:
    """The value as a number of the default's kind; None where that is the default."""
    if value is None and default is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or (not isinstance(default, float) and value != int(value)):
        kind = "a number" if isinstance(default, float) else "a whole number"
        raise ConfigError(
            f"hyper-parameter {name!r}",
            expected=kind,
            received=repr(value),
            fix=f"Try {10 if default is None else default}.",
        )
    return float(value) if isinstance(default, float) else int(value)


RECIPES: dict[str, Recipe] = {}


def recipe(name: str, *, paper: str, stores: str, strategy: Strategy = "Naive") -> Callable[[B], B]:
    """Register a builder under `name`; returns the builder unchanged."""

    def register(build: B) -> B:
        defaults = {p.name: p.default for p in inspect.signature(build).parameters.values()}
        if inspect.Parameter.empty in defaults.values():
            raise ConfigError(
                f"recipe {name!r}", expected="a default for every argument", received=defaults, fix="Add it."
            )
        RECIPES[name] = Recipe(name, build, paper, stores, strategy, defaults)
        return build

    return register


def get(name: str) -> Recipe:
    """The recipe called `name`.

    Raises:
        UnknownNameError: no such recipe; the nearest names are in the message.
    """
    if name not in RECIPES:
        raise UnknownNameError.of("recipe", name, RECIPES)
    return RECIPES[name]
