"""Choosing hyper-parameters on validation data: a study that can be stopped, resumed and shared by processes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from ckd.bench.planning import plan
from ckd.bench.result import check_writable
from ckd.bench.spec import RunSpec
from ckd.bench.training import run
from ckd.bench.trials import claim, fail_dead
from ckd.errors import ConfigError, DataError, NonFiniteLossError, UnknownNameError
from ckd.numbers import check_whole
from ckd.recipes import get
from ckd.seeds import MOST

FIRST_SEED = 1000
"""Studies use seeds from here on, so that no stream, order or initial weight of theirs is one that is reported."""


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

    @classmethod
    def parse(cls, text: str) -> tuple[str, Range]:
        """("lr", Range(0.03, 0.3)) of "lr=0.03:0.3"."""
        name, _, ends = text.partition("=")
        try:
            low, high = map(float, ends.split(":"))
        except ValueError:
            received, fix = repr(text), "For example --search lr=0.03:0.3."
            raise ConfigError("--search", expected="NAME=LOW:HIGH", received=received, fix=fix) from None
        return name, cls(low, high)


def tune(
    benchmark: str,
    recipe: str,
    space: Mapping[str, Range],
    out: str | Path,
    *,
    trials: int = 20,
    seeds: int = 1,
    fixed: Mapping[str, Any] | None = None,
    data_root: str | Path | None = None,
    device: str = "cpu",
    console: Console | None = None,
    **protocol: Any,
) -> dict[str, float]:
    """Search `space` for the values with the best mean validation accuracy; returns them.

    The validation data are a tenth of the training data that no run trains on; no test sample is looked at. Trials are
    proposed by Optuna's TPE sampler and kept in `study.db`, an SQLite file under `out`. The same call goes on where
    an earlier one stopped; in several processes at once it shares the work. `study.json` is the summary.

    Args:
        benchmark, recipe: names.
        space: range by name: `lr`, or a hyper-parameter of the recipe.
        out: folder of the study.
        trials: in all, those of earlier calls included.
        seeds: runs of each trial, seeds 1000, 1001, ...
        fixed: hyper-parameters of the recipe that are not searched.
        data_root: where data sets are kept.
        device: for models and data.
        console: where to print.
        protocol: other arguments of `plan`.

    Raises:
        CkdError: an empty space, a name or value that cannot work, Optuna missing, a folder that cannot be written.
    """
    optuna = _optuna()
    out, console, fixed = Path(out), console or Console(), dict(fixed or {})
    _check(recipe, space, trials, seeds)
    for name in space.keys() & {*fixed, *(["lr"] if protocol.get("lr") else [])}:
        raise ConfigError("search space", expected="names that are not set", received=name, fix="Search it or set it.")

    def specs(values: Mapping[str, float]) -> list[RunSpec]:
        settings = {**fixed, **{name: value for name, value in values.items() if name != "lr"}}
        given = {**protocol, **({"lr": values["lr"]} if "lr" in values else {})}
        wanted = range(FIRST_SEED, FIRST_SEED + seeds)
        return [plan(benchmark, recipe, seed=s, settings=settings, validate=True, **given) for s in wanted]

    whole = {name for name in space if not isinstance(get(recipe).defaults.get(name, 0.0), float)}

    def accuracy(trial: Any) -> float:
        values = {
            name: trial.suggest_int(name, int(r.low), int(r.high), log=r.log)
            if name in whole
            else trial.suggest_float(name, r.low, r.high, log=r.log)
            for name, r in space.items()
        }
        if claim(trial) >= trials:
            trial.study.stop()
            raise optuna.TrialPruned
        try:
            found = [run(s, data_root=data_root, device=device).matrix.average_accuracy() for s in specs(values)]
        except NonFiniteLossError:
            found = [0.0]
        shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        console.print(f"trial {trial.number}: {100 * np.mean(found):.2f}  ({shown})", highlight=False)
        return float(np.mean(found))

    specs({name: r.low for name, r in space.items()})  # refuses what cannot work before anything is trained
    specs({name: r.high for name, r in space.items()})
    check_writable(out, out)
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)  # what fails is raised, and said by ckd
    try:
        study = optuna.create_study(
            storage=_storage(optuna, out / "study.db"),
            study_name=_name(specs({name: r.low for name, r in space.items()}), space),
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
    best: dict[str, float] = dict(study.best_params)
    _save(study, space, specs(best), out / "study.json")
    console.print(_table(study, space))
    console.print(f"best: {_as_options(best)}\nthe study is in {out}", highlight=False)
    return best


def _check(recipe: str, space: Mapping[str, Range], trials: int, seeds: int) -> None:
    if not space:
        raise ConfigError("search space", expected="a range", received="none", fix="Add --search lr=0.03:0.3.")
    check_whole("trials", trials, least=1)
    check_whole("seeds", seeds, least=1, most=MOST)
    known = {"lr", *get(recipe).defaults} - {"memory_size", "seed"}
    for name in space:
        if name not in known:
            raise UnknownNameError.of(f"hyper-parameter of {recipe}", name, known)


def _name(specs: Sequence[RunSpec], space: Mapping[str, Range]) -> str:
    """Of a study: another setting, range or number of seeds, another study."""
    decided = [[str(spec.folder) for spec in specs], {name: [r.low, r.high] for name, r in space.items()}]
    digest = hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()[:8]
    return f"{specs[0].benchmark}, {specs[0].label}, {digest}"


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


def _save(study: Any, space: Mapping[str, Range], best: Sequence[RunSpec], file: Path) -> None:
    trials = [{"accuracy": t.value, **t.params} for t in _complete(study)]
    ranges = {name: [r.low, r.high] for name, r in space.items()}
    content = {"study": study.study_name, "space": ranges, "best": asdict(best[0]), "trials": trials}
    file.write_text(json.dumps(content, indent=1) + "\n")


def _table(study: Any, space: Mapping[str, Range]) -> Table:
    """The ten best trials."""
    shown = Table(title=f"{study.study_name}: validation accuracy in percent", box=box.SIMPLE_HEAD)
    for column in ("trial", *space, "accuracy"):
        shown.add_column(column, justify="right")
    for t in _complete(study)[:10]:
        shown.add_row(str(t.number), *(f"{t.params[name]:.4g}" for name in space), f"{100 * t.value:.2f}")
    return shown


def _as_options(best: Mapping[str, float]) -> str:
    """The values as arguments of `ckd run`."""
    return " ".join(f"--lr {v:.4g}" if name == "lr" else f"--set {name}={v:.4g}" for name, v in best.items())
