"""Distillation from one network to another: the runs that it takes, and how they compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckd.bench.planning import plan
from ckd.bench.spec import NetworkFile, RunSpec
from ckd.bench.teachers import network_file
from ckd.errors import ConfigError
from ckd.recipes import get, protocol

ALONE = "naive"
"""The recipe of a network that nobody teaches."""


@dataclass(frozen=True)
class Distillation:
    """The runs of a comparison.

    Attributes:
        teachers: trained networks, or the runs that train them; several are an ensemble.
        alone: the student without a teacher, by seed.
        taught: the student with one, by recipe and seed.
    """

    teachers: tuple[RunSpec | NetworkFile, ...]
    alone: tuple[RunSpec, ...]
    taught: tuple[RunSpec, ...]

    @property
    def runs(self) -> list[RunSpec]:
        """All that are compared, the teachers' first."""
        return [*(t for t in self.teachers if isinstance(t, RunSpec)), *self.alone, *self.taught]


def plan_distillation(
    data: str,
    *,
    recipes: Sequence[str] = ("kd",),
    teacher: str | None = None,
    student: str | None = None,
    seeds: Sequence[int] = (0,),
    teacher_seeds: Sequence[int] = (0,),
    teacher_epochs: int | None = None,
    teacher_network: str | None = None,
    generations: int = 1,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    sparsity: float = 0.0,
    **how: Any,
) -> Distillation:
    """Decide every run of a comparison: the teacher's, the student's alone, and the student's with each recipe.

    Args:
        data: a data set or a benchmark, taken as one experience with all classes.
        recipes: of distillation.
        teacher: the teacher's network by name, trained first; or a file with a trained one.
        student: the student's network.
        seeds: of the students.
        teacher_seeds: of the teachers; several are an ensemble.
        teacher_epochs: passes of the teacher over the data; as many as the student's unless given.
        teacher_network: of a teacher in a file whose header does not say it.
        generations: of `born-again`.
        settings: hyper-parameters by recipe.
        sparsity: share of the student's weights that is pruned, with and without a teacher.
        how: other arguments of `plan`, for all runs.

    Raises:
        CkdError: what `plan` raises.
        ConfigError: no teacher, or no student, for data that have no usual ones; a recipe that has no teacher.
    """
    rule = protocol(data, ALONE, 0, how.get("variant"))
    teacher, student = teacher or rule.teacher, student or (rule.network if rule.teacher else None)
    if not teacher or not student:
        which = "student" if teacher else "teacher"
        fix = f"Add --{which} NAME; `ckd list` has the names."
        raise ConfigError(f"{which} for {data}", expected="a network", received="none", fix=fix)
    if generations < 1:
        raise ConfigError("generations", expected="1 or more", received=generations, fix="Leave it out.")
    how = {"n_experiences": 1, **how}
    if teacher.endswith(".safetensors"):
        teachers: tuple[RunSpec | NetworkFile, ...] = (network_file(teacher, teacher_network),)
    else:
        own = {**how, "network": teacher, **({"epochs": teacher_epochs} if teacher_epochs else {})}
        teachers = tuple(plan(data, ALONE, seed=seed, **own) for seed in teacher_seeds)
    how = {**how, "network": student, "sparsity": sparsity}
    alone = tuple(plan(data, ALONE, seed=seed, **how) for seed in seeds)
    taught = []
    for name in recipes:
        recipe = get(name)
        if not recipe.teacher:
            known = "kd, dkd, hint; `ckd list` has all"
            raise ConfigError(f"recipe {name}", expected="one with a teacher", received="none", fix=f"Use {known}.")
        given = {**how, "settings": dict((settings or {}).get(name, {}))}
        for seed, first in zip(seeds, alone, strict=True):
            if recipe.teacher != "past":
                taught.append(
                    plan(data, name, seed=seed, teachers=teachers if recipe.teacher == "given" else (), **given)
                )
                continue
            last = first
            for _ in range(generations):
                last = plan(data, name, seed=seed, teachers=(last,), **given)
            taught.append(last)
    return Distillation(teachers, alone, tuple(taught))


def out_of(data: str) -> Path:
    """Where results go unless another folder is named."""
    return Path("runs") / "distil" / Path(data).name.removesuffix(".npz")
