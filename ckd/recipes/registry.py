"""The recipes by name: how they are built, what they store, where they come from.

ckd's own are here; others are found where they are: an entry point of the group `ckd.recipes` in any installed package,
`package.module:function`, or a file, `mine.py` or `mine.py:function`.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar, cast

from ckd.errors import ConfigError, UnknownNameError
from ckd.modules import defaults_of, is_path, named
from ckd.names import known_as
from ckd.numbers import LARGEST_FLOAT, shown
from ckd.objective import Objective

Strategy = Literal["Naive", "Cumulative", "JointTraining"]
Teaching = Literal["", "given", "past", "peer"]
"""Who teaches: nobody from outside, a trained network, an earlier run of the same network, one that trains beside."""
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
        cost: forward and backward passes of one mini-batch in a step.
        use: when to use it.
        strategy: the Avalanche strategy that it runs in; all but the references run in `Naive`.
        teacher: who teaches, where the builder's first argument is a teacher.
        defaults: every hyper-parameter with its value.
    """

    name: str
    build: Build
    paper: str
    stores: str = ""
    cost: str = ""
    use: str = ""
    strategy: Strategy = "Naive"
    teacher: Teaching = ""
    defaults: dict[str, Any] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The first line of the builder's docstring."""
        return (inspect.getdoc(self.build) or "").split("\n")[0]

    def settings(self, **wanted: Any) -> dict[str, Any]:
        """Every hyper-parameter with its value: the `wanted` ones, the defaults for the rest.

        Raises:
            UnknownNameError: a hyper-parameter that the recipe does not have.
            ConfigError: a value that is not a number, or not a whole number where it must be; below 0, for ckd's own
                recipes.
        """
        for name, value in wanted.items():
            if name not in self.defaults:
                raise UnknownNameError.of(f"hyper-parameter of {self.name}", name, self.defaults)
            if isinstance(value, int | float) and value < 0 and self.build.__module__.startswith("ckd."):
                fix = f"Leave it out for {self.defaults[name]}."
                raise ConfigError(f"hyper-parameter {name!r}", expected="0 or more", received=shown(value), fix=fix)
        return {**self.defaults, **{name: _like(self.defaults[name], name, v) for name, v in wanted.items()}}


def _like(default: Any, name: str, value: Any) -> Any:
    """The value as a number of the default's kind; None where that is the default."""
    if value is None and default is None:
        return None
    if isinstance(default, str):
        return str(value)
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_FLOAT
    if not number or (not isinstance(default, float) and value != int(value)):
        kind = "a number" if isinstance(default, float) else "a whole number"
        raise ConfigError(
            f"hyper-parameter {name!r}",
            expected=kind,
            received=shown(value),
            fix=f"Try {10 if default is None else default}.",
        )
    return float(value) if isinstance(default, float) else int(value)


RECIPES: dict[str, Recipe] = {}
"""The recipes by name: ckd's own, and those that were registered or loaded since."""

GROUP = "ckd.recipes"
"""Of entry points."""


def recipe(
    name: str,
    *,
    paper: str = "",
    stores: str = "",
    cost: str = "",
    use: str = "",
    strategy: Strategy = "Naive",
    teacher: Teaching = "",
) -> Callable[[B], B]:
    """Register a builder under `name`; returns the builder unchanged.

    A builder of a recipe with a `teacher` takes it as its first argument, called so.

    Raises:
        ConfigError: another argument without a default, or the name of one of ckd's own recipes.
    """

    def register(build: B) -> B:
        if name in RECIPES and RECIPES[name].build.__module__.startswith("ckd.") and build is not RECIPES[name].build:
            raise ConfigError(f"recipe {name!r}", expected="a new name", received="one of ckd's own", fix="Rename it.")
        told: dict[str, Any] = {"paper": paper, "stores": stores, "cost": cost, "use": use}
        RECIPES[name] = _recipe(name, build, strategy=strategy, teacher=teacher, **told)
        return build

    return register


def get(name: str) -> Recipe:
    """The recipe called `name`, or that an entry point, `package.module:function` or a file names.

    A name may be written otherwise where it is clear: `derpp` and `DER_PP` are der++, `er_ace` is er-ace.

    Raises:
        UnknownNameError: no such recipe; the nearest names are in the message.
        ConfigError: a module or file that cannot be loaded, or that holds no recipe.
    """
    if name in RECIPES:
        return RECIPES[name]
    points = {point.name: point.value for point in importlib.metadata.entry_points(group=GROUP)}
    if name in points:
        return _found(name, points[name])
    if is_path(name):
        return _found(name, name)
    found = known_as(name, [*RECIPES, *points])
    if found is None:
        raise UnknownNameError.of("recipe", name, [*RECIPES, *points])
    return get(found)


def _found(name: str, where: str) -> Recipe:
    """The recipe at `package.module:function`, `file.py:function`, or the only one of a file or module."""
    module, build = named(f"recipe {name!r}", where)
    own = [recipe for recipe in RECIPES.values() if recipe.build.__module__ == module.__name__]
    registered = next((recipe for recipe in own if build is None or recipe.build is build), None)
    if registered is None and build is None:
        expected, fix = "a function under @recipe", f"Decorate one, or name a function: {where}:function."
        raise ConfigError(f"recipe {name!r}", expected=expected, received="none", fix=fix)
    found = registered or _recipe(name, cast(Build, build))
    RECIPES[name] = replace(found, name=name)
    return RECIPES[name]


def _recipe(name: str, build: Build, *, paper: str = "", **told: Any) -> Recipe:
    given = (
        ("teacher",) if told.get("teacher") or next(iter(inspect.signature(build).parameters), "") == "teacher" else ()
    )
    found = Recipe(name, build, paper, defaults=defaults_of(f"recipe {name!r}", build, given), **told)
    return replace(found, teacher="given") if given and not found.teacher else found
