"""A suite as a short Python file: what is compared with what, over which seeds."""

from __future__ import annotations

import difflib
import inspect
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ckd.bench.planning import plan
from ckd.bench.result import writable_error
from ckd.bench.spec import RunSpec
from ckd.bench.suite import unique
from ckd.bench.tables import Published, canonical
from ckd.errors import ConfigError, UnknownNameError
from ckd.modules import file_module
from ckd.names import known_as
from ckd.recipes import get

SUITE = "suite.json"


@dataclass(frozen=True)
class Suite:
    """Every recipe at every memory size and seed, on every benchmark.

    `ckd bench SUITE.py` runs the one that the file calls `suite`:

        suite = Suite("Digits", benchmarks=["split-digits"], recipes=["er", "der++"], memory_sizes=[50, 100])

    Attributes:
        title: one line.
        benchmarks, recipes: names, or files as `ckd run` takes them.
        memory_sizes: samples remembered; recipes without a memory run once for all sizes.
        seeds: of the runs.
        settings: hyper-parameters by recipe, where they are not the protocol's.
        protocol: other arguments of `plan` for all runs, such as {"variant": "full"} or {"epochs": 3}.
        published: average accuracies in percent to show beside ours, by (recipe, memory size); of one benchmark.
        source: where the published numbers are from.
        against: a recipe that the others are tested against, seed by seed.

    Raises:
        ConfigError: something that cannot be meant.
    """

    title: str
    benchmarks: Sequence[str]
    recipes: Sequence[str]
    memory_sizes: Sequence[int] = (200,)
    seeds: Sequence[int] = (0, 1, 2)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)
    published: Published = field(default_factory=dict)
    source: str = ""
    against: str | None = None

    def __post_init__(self) -> None:
        for name in ("benchmarks", "recipes", "memory_sizes", "seeds"):
            given = getattr(self, name)
            if isinstance(given, str) or not isinstance(given, Sequence) or not given:
                raise ConfigError(
                    f"{name} of the suite",
                    expected="a list with at least one entry",
                    received=repr(given),
                    fix="Write [...].",
                )
        for name in self.settings:
            if known_as(name, self.recipes) is None:
                raise UnknownNameError.of("recipe in the settings of the suite", name, self.recipes)
        if self.against is not None and known_as(self.against, self.recipes) is None:
            raise UnknownNameError.of("recipe to test against in the suite", self.against, self.recipes)
        known = inspect.signature(plan).parameters.keys() - _DECIDED
        for name in self.protocol.keys() - known:
            raise UnknownNameError.of("protocol argument of the suite", name, known)
        canonical(self.published, self.against)  # refuses a misspelt recipe, and a reference to test against
        if self.published and (len(self.benchmarks) > 1 or not self.source):
            received = f"{len(self.benchmarks)} benchmarks and source={self.source!r}"
            fix = "Name the source, and give each benchmark a suite of its own."
            raise ConfigError("published numbers", expected="one benchmark and a source", received=received, fix=fix)

    def specs(
        self,
        *,
        recipes: Sequence[str] | None = None,
        memory_sizes: Sequence[int] | None = None,
        seeds: Sequence[int] | None = None,
        evaluate_every: int | None = None,
        only: str | None = None,
    ) -> list[RunSpec]:
        """The runs, each once; what is given replaces what the suite says.

        Args:
            recipes: in place of the suite's.
            memory_sizes: in place of the suite's.
            seeds: in place of the suite's.
            evaluate_every: in place of the suite's.
            only: those whose name matches this pattern, as a shell matches file names; `*` matches `/` too.

        Raises:
            CkdError: what `plan` raises.
            ConfigError: a pattern that matches no run.
        """
        settings = {get(r).name: dict(given) for r, given in self.settings.items()}
        product = itertools.product(
            self.benchmarks, recipes or self.recipes, memory_sizes or self.memory_sizes, seeds or self.seeds
        )
        protocol = {**self.protocol, **({} if evaluate_every is None else {"evaluate_every": evaluate_every})}
        specs = unique(
            plan(benchmark, r, seed=s, memory_size=size, settings=settings.get(get(r).name), **protocol)
            for benchmark, r, size, s in product
        )
        return specs if only is None else _matching(specs, only)


def save_suite(suite: Suite, out: Path) -> None:
    """Write beside the results what a report says of them: title, published numbers and the method to test against.

    Raises:
        DataError: a folder that cannot be written.
    """
    named, against = canonical(suite.published, suite.against)
    published = [[recipe, size, percent] for (recipe, size), percent in named.items()]
    content = {"title": suite.title, "published": published, "source": suite.source, "against": against}
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / SUITE).write_text(json.dumps({**content, "benchmarks": list(suite.benchmarks)}, indent=1))
    except OSError as error:
        raise writable_error(out, error) from error


_DECIDED = {"benchmark", "recipe", "seed", "memory_size", "settings"}
"""Arguments of `plan` that a suite decides for each run."""


def _matching(specs: list[RunSpec], pattern: str) -> list[RunSpec]:
    found = [spec for spec in specs if fnmatchcase(spec.name, pattern)]
    if not found:
        names = [spec.name for spec in specs]
        near = difflib.get_close_matches(pattern, names, n=3, cutoff=0) or names[:3]
        fix = f"Near are {', '.join(near)}; * stands for anything, as in '*/{names[0].split('/')[1]}/*'."
        expected = f"a pattern that matches one of the {len(names)} runs"
        raise ConfigError("--only", expected=expected, received=repr(pattern), fix=fix)
    return found


def load_suite(file: Path) -> Suite:
    """The suite in a file.

    Raises:
        ConfigError: a file that cannot be loaded, or that does not say `suite = Suite(...)`.
    """
    try:
        found = getattr(file_module(file), "suite", None)
    except (ImportError, OSError, SyntaxError) as error:
        received = "no such file" if isinstance(error, FileNotFoundError) else error
        fix = "Check the path."
        raise ConfigError(f"suite {file}", expected="a Python file", received=received, fix=fix) from error
    if not isinstance(found, Suite):
        expected, received = "suite = Suite(...)", "none" if found is None else repr(found)
        fix = "Write it with `from ckd.bench import Suite`."
        raise ConfigError(f"suite {file}", expected=expected, received=received, fix=fix)
    return found
