"""Choosing hyper-parameters on validation data: a study that can be stopped, resumed and shared by processes."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from ckd.bench.distil import plan_distillation
from ckd.bench.diverged import OnDivergence, check_on_divergence
from ckd.bench.planning import plan
from ckd.bench.result import check_writable
from ckd.bench.search_space import Choice, Range, Space
from ckd.bench.spec import RunSpec
from ckd.bench.suite import run_all, teachers_of
from ckd.bench.teachers import file_of, read_network
from ckd.bench.training import run
from ckd.bench.trials import claim, fail_dead
from ckd.errors import ConfigError, DataError, NonFiniteLossError, UnknownNameError
from ckd.numbers import check_whole
from ckd.recipes import get
from ckd.seeds import MOST

FIRST_SEED = 1000
"""Studies use seeds from here on, so that no stream, order or initial weight of theirs is one that is reported."""


DIVERGED = "diverged"
"""Noted of a trial that did, with the reason."""


def tune(
    benchmark: str,
    recipe: str,
    space: Space,
    out: str | Path,
    *,
    trials: int = 20,
    seeds: int = 1,
    teacher: str | None = None,
    fixed: Mapping[str, Any] | None = None,
    data_root: str | Path | None = None,
    device: str = "cpu",
    on_divergence: OnDivergence = "skip",
    console: Console | None = None,
    **protocol: Any,
) -> dict[str, Any]:
    """Search `space` for the values with the best mean validation accuracy; returns them.

    The validation data are a tenth of the training data that no run trains on, no teacher's either; no test sample is
    looked at. Trials are proposed by Optuna's TPE sampler and kept in `study.db`, an SQLite file under `out`. The same
    call goes on where an earlier one stopped; in several processes at once it shares the work. `study.json` is the
    summary.

    Args:
        benchmark: a name, or where a function is.
        recipe: a name; what `space["recipe"]` chooses takes its place.
        space: a `Range` or a `Choice` by name: `lr`, `recipe`, `teacher`, or a hyper-parameter, which is searched for
            the recipes that have it.
        out: folder of the study, and of the teachers that it trains.
        trials: in all, those of earlier calls included.
        seeds: runs of each trial, seeds 1000, 1001, ...
        teacher: of recipes that need one: a network's name, trained first, or a file; as in `plan_distillation`.
        fixed: hyper-parameters that are not searched.
        data_root: where data sets are kept.
        device: for models and data.
        on_divergence: whether a trial that diverges counts as an accuracy of 0, "skip", or ends the search, "stop".
        console: where to print.
        protocol: other arguments of `plan`.

    Raises:
        CkdError: an empty space, a name or value that cannot work, Optuna missing, a folder that cannot be written.
        NonFiniteLossError: all trials diverged, or one did where that is to stop the search.
    """
    optuna = _optuna()
    out, console = Path(out), console or Console()
    search = _Search(benchmark, recipe, space, seeds, teacher, dict(fixed or {}), protocol)
    search.check(trials)
    check_on_divergence(on_divergence)
    check_writable(out, out)
    running: dict[str, Any] = {"data_root": data_root, "device": device}

    def accuracy(trial: Any) -> float:
        if claim(trial) >= trials:
            trial.study.stop()
            raise optuna.TrialPruned
        values = search.suggest(trial)
        specs = search.specs(values)
        teachers, quiet = teachers_of(specs), Console(quiet=True)
        try:
            if teachers:  # without checkpoints, and so without a lock: another process may train them at the same time
                run_all(teachers, out, keep_networks=True, renew=True, checkpoint_every=None, console=quiet, **running)
            given = [[read_network(file_of(t, out)) for t in spec.teachers] for spec in specs]
            ran = [run(spec, teachers=t, **running) for spec, t in zip(specs, given, strict=True)]
            found = [result.matrix.average_accuracy() for result in ran]
            told = f"{100 * np.mean(found):.2f}"
        except NonFiniteLossError as error:
            if on_divergence == "stop":
                raise
            trial.set_user_attr(DIVERGED, str(error))
            found, told = [0.0], DIVERGED
        shown = ", ".join(f"{name} {_shown(value)}" for name, value in values.items())
        console.print(f"trial {trial.number}: {told}  ({shown})", highlight=False, markup=False)
        return float(np.mean(found))

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)  # what fails is raised, and said by ckd
    try:
        study = optuna.create_study(
            storage=_storage(optuna, out / "study.db"),
            study_name=search.name,
            direction="maximize",
            sampler=optuna.samplers.TPESampler(),
            load_if_exists=True,
        )
    except Exception as error:  # whatever the database and its layers raise
        fix = "Name another folder with --out."
        received = str(error).split("\n")[0]
        raise DataError(f"study in {out}", expected="study.db to be one", received=received, fix=fix) from error
    fail_dead(study)
    finished = optuna.study.MaxTrialsCallback(trials, states=(optuna.trial.TrialState.COMPLETE,))
    if len(_complete(study)) < trials:
        study.optimize(accuracy, callbacks=[finished])
    if not _complete(study):
        fix = "Wait for it, and call this again."
        raise DataError("study", expected="a finished trial", received="one that another process runs", fix=fix)
    if study.best_value <= 0:
        raise NonFiniteLossError("study", expected="a trial that works", received="none", fix="Search lower rates.")
    best: dict[str, Any] = dict(study.best_params)
    _save(study, space, search.specs(best), out / "study.json")
    console.print(_table(study, space))
    console.print(f"best: {_as_options(best)}\nthe study is in {out}", highlight=False)
    return best


@dataclass(frozen=True)
class _Search:
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


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        fix = "pip install 'avalanche-ckd[tune]'"
        raise ConfigError("ckd tune", expected="Optuna", received="none installed", fix=fix) from error
    return optuna


def _storage(optuna: Any, file: Path) -> Any:
    """Keeps a study in an SQLite file, in which no connection is left open."""
    from sqlalchemy.pool import NullPool  # a dependency of Optuna

    return optuna.storages.RDBStorage(f"sqlite:///{file}", engine_kwargs={"poolclass": NullPool})


def _complete(study: Any) -> list[Any]:
    """Finished trials, best first."""
    return sorted((t for t in study.trials if t.state.name == "COMPLETE"), key=lambda t: -t.value)


def _save(study: Any, space: Space, best: Sequence[RunSpec], file: Path) -> None:
    trials = [{"accuracy": t.value, **t.params, **_reason(t)} for t in _complete(study)]
    ranges = {name: list(r.tried) for name, r in space.items()}
    content = {"study": study.study_name, "space": ranges, "best": asdict(best[0]), "trials": trials}
    file.write_text(json.dumps(content, indent=1) + "\n")


def _table(study: Any, space: Space) -> Table:
    """The ten best trials."""
    shown = Table(title=f"{study.study_name}: validation accuracy in percent", box=box.SIMPLE_HEAD)
    for column in ("trial", *space, "accuracy"):
        shown.add_column(column, justify="right")
    for t in _complete(study)[:10]:
        values = (_shown(t.params.get(name, "")) for name in space)
        shown.add_row(str(t.number), *values, DIVERGED if _reason(t) else f"{100 * t.value:.2f}")
    return shown


def _reason(trial: Any) -> dict[str, str]:
    """Why a trial diverged, if it did."""
    return {DIVERGED: trial.user_attrs[DIVERGED]} if DIVERGED in trial.user_attrs else {}


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _as_options(best: Mapping[str, Any]) -> str:
    """The values as arguments of `ckd run` and `ckd distil`."""
    options = ("lr", "recipe", "teacher")
    return " ".join(f"--{n} {_shown(v)}" if n in options else f"--set {n}={_shown(v)}" for n, v in best.items())
