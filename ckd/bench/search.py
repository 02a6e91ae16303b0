"""What a study searches, and the runs of a trial."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ckd.bench.distil import plan_distillation
from ckd.bench.planning import plan
from ckd.bench.search_space import Choice, Range, Space
from ckd.bench.spec import RunSpec
from ckd.errors import ConfigError, UnknownNameError
from ckd.numbers import check_whole
from ckd.recipes import get
from ckd.seeds import MOST

FIRST_SEED = 1000
"""Studies use seeds from here on, so that no stream, order or initial weight of theirs is one that is reported."""


@dataclass(frozen=True)
class Search:
    """What is searched, and the runs of a trial."""

    benchmark: str
    recipe: str
    space: Space
    seeds: int
    teacher: str | None
    fixed: dict[str, Any]
    protocol: dict[str, Any] = field(default_factory=dict)

    def suggest(self, trial: Any) -> dict[str, Any]:
        """Values for an Optuna trial: the recipe first, then what the recipe has."""
        chosen = {name: self._one(trial, name) for name in ("recipe", "teacher") if name in self.space}
        known = self._known(chosen.get("recipe", self.recipe))
        return chosen | {name: self._one(trial, name) for name in self.space if name in known}

    def _one(self, trial: Any, name: str) -> Any:
        where = self.space[name]
        if isinstance(where, Choice):
            return trial.suggest_categorical(name, where.values)
        usual = next((d[name] for r in self.recipes if name in (d := get(r).defaults)), 0.0)
        if isinstance(usual, float):
            return trial.suggest_float(name, where.low, where.high, log=where.log)
        return trial.suggest_int(name, int(where.low), int(where.high), log=where.log)

    @property
    def recipes(self) -> tuple[str, ...]:
        """That are searched."""
        return tuple(map(str, self.space["recipe"].tried)) if "recipe" in self.space else (self.recipe,)

    @staticmethod
    def _known(recipe: str) -> set[str]:
        return {"lr", *get(recipe).defaults} - {"memory_size", "seed"}

    def specs(self, values: Mapping[str, Any]) -> list[RunSpec]:
        """The runs of a trial, a seed each."""
        recipe, teacher = values.get("recipe", self.recipe), values.get("teacher", self.teacher)
        searched = {k: v for k, v in values.items() if k not in ("recipe", "teacher", "lr")}
        settings = {**{k: v for k, v in self.fixed.items() if k in self._known(recipe)}, **searched}
        given = {**self.protocol, "validate": True, **({"lr": values["lr"]} if "lr" in values else {})}
        seeds = range(FIRST_SEED, FIRST_SEED + self.seeds)
        if not get(recipe).teacher:
            return [plan(self.benchmark, recipe, seed=s, settings=settings, **given) for s in seeds]
        given = {name: value for name, value in given.items() if value is not None}
        student = given.pop("network", None)
        planned = plan_distillation(
            self.benchmark,
            recipes=[recipe],
            teacher=teacher,
            student=student,
            seeds=seeds,
            teacher_seeds=[FIRST_SEED],
            settings={recipe: settings},
            **given,
        )
        return list(planned.taught)

    @property
    def name(self) -> str:
        """Of the study: another setting, range or number of seeds, another study."""
        first = next(self._ends())
        specs = self.specs(first)
        decided = [[str(spec.folder) for spec in specs], {name: list(r.tried) for name, r in self.space.items()}]
        digest = hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()[:8]
        return f"{specs[0].benchmark}, {specs[0].label}, {digest}"

    def _ends(self) -> Iterator[dict[str, Any]]:
        """Values that must work: with every recipe and teacher, the first of each range, the second, and so on."""
        outer = [[(n, v) for v in self.space[n].tried] for n in ("recipe", "teacher") if n in self.space]
        for chosen in map(dict, itertools.product(*outer)):
            known = self._known(str(chosen.get("recipe", self.recipe)))
            inner = {name: r.tried for name, r in self.space.items() if name in known}
            for k in range(max(map(len, inner.values()), default=1)):
                yield chosen | {name: values[min(k, len(values) - 1)] for name, values in inner.items()}

    def check(self, trials: int) -> None:
        """Refuse, before anything is trained, what cannot work."""
        if not self.space:
            raise ConfigError("search space", expected="a range", received="none", fix="Add --search lr=0.03:0.3.")
        check_whole("trials", trials, least=1)
        check_whole("seeds", self.seeds, least=1, most=MOST)
        for name in {"recipe", "teacher"} & self.space.keys():
            if isinstance(self.space[name], Range):
                fix = f"For example {name}={'kd,dkd' if name == 'recipe' else 'small-resnet,wide-resnet'}."
                raise ConfigError(f"search of {name}", expected="names to choose from", received="a range", fix=fix)
        known = {"recipe", "teacher"}.union(*(self._known(recipe) for recipe in self.recipes))
        for name in [*self.space, *self.fixed]:
            if name not in known:
                raise UnknownNameError.of(f"hyper-parameter of {', '.join(self.recipes)}", name, known)
        if "teacher" in self.space and not any(get(recipe).teacher == "given" for recipe in self.recipes):
            fix = "Leave it out, or choose kd."
            raise ConfigError(
                "search of teacher", expected="a recipe that takes one", received=", ".join(self.recipes), fix=fix
            )
        is_set = {*self.fixed, *(["lr"] if self.protocol.get("lr") else []), *(["teacher"] if self.teacher else [])}
        for name in self.space.keys() & is_set:
            raise ConfigError(
                "search space", expected="names that are not set", received=name, fix="Search it or set it."
            )
        for values in self._ends():
            self.specs(values)
