"""Distillation from one network to another: the runs that it takes, and how they compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ckd.bench.planning import digest, plan
from ckd.bench.spec import NetworkFile, RunSpec
from ckd.bench.teachers import loaded, network_file, network_for, read_network
from ckd.data import TensorStream
from ckd.engine import Engine
from ckd.errors import CkdError, ConfigError
from ckd.numbers import check_whole
from ckd.outputs import check_path
from ckd.recipes import get, pairs, protocol
from ckd.seeds import MOST
from ckd.teachers import Fixed

ALONE = "naive"
"""The recipe of a network that nobody teaches."""


@dataclass(frozen=True)
class Distillation:
    """The runs of a comparison.

    Attributes:
        teachers: trained networks, or the runs that train them; several are an ensemble. Empty
            where no recipe takes one and none is named.
        dense: the student without a teacher and without pruning, by seed; none if no student is pruned.
        alone: the student without a teacher, by seed.
        taught: the student with one, by recipe and seed.
    """

    teachers: tuple[RunSpec | NetworkFile, ...]
    dense: tuple[RunSpec, ...]
    alone: tuple[RunSpec, ...]
    taught: tuple[RunSpec, ...]

    @property
    def runs(self) -> list[RunSpec]:
        """All that are compared, the teachers' first."""
        return [*(t for t in self.teachers if isinstance(t, RunSpec)), *self.students]

    @property
    def students(self) -> list[RunSpec]:
        """All but the teachers, those without one first."""
        return [*self.dense, *self.alone, *self.taught]

    def name(self, spec: RunSpec) -> str:
        """How a run is called where it is shown: "teacher", "student alone" or the recipe."""
        return "teacher" if spec in self.teachers else self.student_name(spec)

    def student_name(self, spec: RunSpec) -> str:
        """How a student is called: "student alone" or the recipe, and what was changed.

        A recipe of one's own is called by its function, and where another's is called the same, by its file too.
        """
        if spec.recipe == ALONE:
            return f"student alone{spec.label.removeprefix(ALONE)}"
        twins = {other.recipe for other in self.students if other.label == spec.label}
        return f"{spec.label} ({spec.recipe})" if len(twins) > 1 else spec.label


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
        teacher: the teacher's network by name, trained first; or a file with a trained one. Unless it is named there is
            none for recipes that take none, as born-again and mutual.
        student: the student's network.
        seeds: of the students.
        teacher_seeds: of the teachers; several are an ensemble.
        teacher_epochs: passes of the teacher over the data; as many as the student's unless given.
        teacher_network: of a teacher in a file whose header does not say it.
        generations: of `born-again`.
        settings: hyper-parameters by recipe.
        sparsity: share of the student's weights that is pruned, with and without a teacher; the student alone is also
            trained without pruning.
        how: other arguments of `plan`, for all runs.

    Raises:
        CkdError: what `plan` raises.
        ConfigError: no teacher, or no student, for data that have no usual ones; a recipe that has no teacher.
    """
    rule, needed = protocol(data, ALONE, 0, how.get("variant")), any(get(r).teacher == "given" for r in recipes)
    teacher = teacher or (rule.teacher if needed else None)
    student = student or (rule.network if rule.teacher else None)
    if data.endswith(".npz"):
        digest(Path(data))  # refuses a file that is not there
    networks = {**({"teacher": teacher} if needed else {}), "student": student}
    missing = [which for which, network in networks.items() if not network]
    if missing:
        fix = "Add --teacher NAME and --student NAME, from `ckd list`, or FILE.py:function of your own."
        raise ConfigError(f"{' and '.join(missing)} for {data}", expected="a network", received="none", fix=fix)
    check_whole("generations", generations, least=1, most=MOST)
    if teacher_epochs is not None:
        check_whole("epochs of the teacher", teacher_epochs, least=1)
    if generations > 1 and not any(get(r).teacher == "past" for r in recipes):
        expected, fix = "1, or more with born-again", "Leave it out, or add --recipe born-again."
        raise ConfigError("generations", expected=expected, received=generations, fix=fix)
    how = {"n_experiences": 1, **how}
    teachers: tuple[RunSpec | NetworkFile, ...] = ()
    if teacher and teacher.endswith(".safetensors"):
        teachers = (network_file(teacher, teacher_network),)
    elif teacher:
        own = {**how, "network": teacher, **({} if teacher_epochs is None else {"epochs": teacher_epochs})}
        teachers = tuple(plan(data, ALONE, seed=seed, **own) for seed in teacher_seeds)
    how = {**how, "network": student}
    dense = tuple(plan(data, ALONE, seed=seed, **how) for seed in seeds if sparsity)
    how["sparsity"] = sparsity
    alone = tuple(plan(data, ALONE, seed=seed, **how) for seed in seeds)
    taught = []
    for name in recipes:
        recipe = get(name)
        if not recipe.teacher:
            received, fix = f"{recipe.name}, which takes none", "Use kd, dkd or hint; `ckd list` has all."
            raise ConfigError("recipe", expected="one that takes a teacher", received=received, fix=fix)
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
    return Distillation(teachers, dense, alone, tuple(taught))


def with_layers(settings: Mapping[str, Mapping[str, Any]], layers: str) -> dict[str, dict[str, Any]]:
    """The settings by recipe, with the layers to match for those that match any.

    Raises:
        ConfigError: none of the recipes does.
    """
    if not any("layers" in get(name).defaults for name in settings):
        received, fix = ", ".join(settings), "Leave --layers out, or add --recipe hint."
        raise ConfigError("--layers", expected="a recipe that matches layers", received=received, fix=fix)
    return {
        name: {**given, **({"layers": layers} if "layers" in get(name).defaults else {})}
        for name, given in settings.items()
    }


def check_networks(planned: Distillation, stream: TensorStream) -> None:
    """Refuse, before anything is trained, networks that do not fit the data, and layers that they do not have.

    Raises:
        CkdError: layers whose outputs a recipe cannot compare.
        ConfigError: a network for other inputs.
        ModelError: a file with the weights of another network, or of other classes.
        UnknownNameError: a layer; the nearest names are in the message.
    """
    with torch.random.fork_rng(devices=[]):
        student = network_for(planned.alone[0].network, stream)
        for given in planned.teachers:
            if isinstance(given, NetworkFile):
                teacher = loaded(given.network, read_network(Path(given.file)), stream)
            else:
                teacher = network_for(given.network, stream)
        for spec in planned.taught:
            for ours, theirs in pairs(spec.settings["layers"]).items() if spec.settings.get("layers") else ():
                check_path(dict(student.named_modules()), ours, "student")
                check_path(dict(teacher.named_modules()), theirs, "teacher")
            if spec.settings.get("layers"):
                _check_layers(spec, student, teacher, stream)


def _check_layers(spec: RunSpec, student: nn.Module, teacher: nn.Module, stream: TensorStream) -> None:
    """Refuse layers whose outputs cannot be compared, as a first step would."""
    engine = Engine(get(spec.recipe).build(Fixed(teacher), **spec.settings))
    engine.begin(range(stream.n_classes))
    shape = 2, *stream.input_shape
    inputs = torch.randint(1, stream.vocabulary, shape) if stream.vocabulary else torch.randn(shape)
    try:
        engine.loss(student, inputs, torch.arange(2) % stream.n_classes)
    except CkdError as error:
        what = f"{spec.recipe} of layers {spec.settings['layers']}: {error.what}"
        raise type(error)(what, expected=error.expected, received=error.received, fix=error.fix) from error


def out_of(data: str) -> Path:
    """Where results go unless another folder is named."""
    return Path("runs") / "distil" / Path(data).name.removesuffix(".npz")
