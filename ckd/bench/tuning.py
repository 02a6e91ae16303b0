"""Choosing hyper-parameters on validation data: a study that can be stopped, resumed and shared by processes."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from ckd.bench.diverged import OnDivergence, check_on_divergence
from ckd.bench.result import Result, check_writable
from ckd.bench.saving import Saving
from ckd.bench.search import Search
from ckd.bench.search_space import Space
from ckd.bench.spec import RunSpec
from ckd.bench.suite import run_all, teachers_of
from ckd.bench.teachers import file_of, read_network
from ckd.bench.training import run
from ckd.bench.trials import accuracies, claim, clean, line_up_again, take_up_dead
from ckd.checkpoint import locked
from ckd.errors import ConfigError, DataError, NonFiniteLossError
from ckd.signals import handling, raise_interrupted

TRIALS = "trials"
"""Below the study's folder, the checkpoints of trials that are not finished, by their number."""

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
    checkpoint_every: int | None = 0,
    on_divergence: OnDivergence = "skip",
    deterministic: bool = False,
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
        checkpoint_every: as in `run_all`; a trial that was ended goes on where it was.
        on_divergence: whether a trial that diverges counts as an accuracy of 0, "skip", or ends the search, "stop".
        deterministic: as in `run_all`; the values tried are the same again too, as long as one process is at work.
        console: where to print.
        protocol: other arguments of `plan`.

    Raises:
        CkdError: an empty space, a name or value that cannot work, Optuna missing, a folder that cannot be written.
        NonFiniteLossError: all trials diverged, or one did where that is to stop the search.
    """
    optuna = _optuna()
    out, console = Path(out), console or Console()
    search = Search(benchmark, recipe, space, seeds, teacher, dict(fixed or {}), protocol)
    search.check(trials)
    check_on_divergence(on_divergence)
    check_writable(out, out)
    running: dict[str, Any] = {"data_root": data_root, "device": device, "deterministic": deterministic}

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

            def act(i: int, saving: Saving | None) -> Result:
                return run(specs[i], teachers=given[i], saving=saving, **running)

            found = accuracies(trial, specs, out / TRIALS, checkpoint_every, act)
            told = f"{100 * np.mean(found):.2f}"
        except NonFiniteLossError as error:
            if on_divergence == "stop":
                raise
            trial.set_user_attr(DIVERGED, str(error))
            found, told = [0.0], DIVERGED
        except KeyboardInterrupt:
            line_up_again(trial.study, trial)
            raise
        shown = ", ".join(f"{name} {_shown(value)}" for name, value in values.items())
        console.print(f"trial {trial.number}: {told}  ({shown})", highlight=False, markup=False)
        return float(np.mean(found))

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)  # what fails is raised, and said by ckd
    with locked(out / TRIALS, wait=True):  # two that begin at once would both make the tables
        study = _study(optuna, out / "study.db", search.name)
        take_up_dead(study)
    finished = optuna.study.MaxTrialsCallback(trials, states=(optuna.trial.TrialState.COMPLETE,))
    if len(_complete(study)) < trials:
        with handling(raise_interrupted, signal.SIGINT, signal.SIGTERM):
            study.optimize(accuracy, callbacks=[finished])
    clean(study, out / TRIALS)
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


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        fix = "Install it: pip install 'avalanche-ckd[tune]'"
        raise ConfigError("ckd tune", expected="Optuna", received="none installed", fix=fix) from error
    return optuna


def _storage(optuna: Any, file: Path) -> Any:
    """Keeps a study in an SQLite file, in which no connection is left open."""
    from sqlalchemy.engine import URL  # a dependency of Optuna
    from sqlalchemy.pool import NullPool

    url = URL.create("sqlite", database=str(file)).render_as_string()  # escapes what stands for something else
    return optuna.storages.RDBStorage(url, engine_kwargs={"poolclass": NullPool})


def _sampler() -> Any:
    """TPE whose draws are seeded by the number of the trial.

    The same call draws the same again, and one that goes on what it would have drawn; of several processes no two do.
    """
    from optuna.samplers import TPESampler

    class Numbered(TPESampler):
        def before_trial(self, study: Any, trial: Any) -> None:
            super().__init__(seed=trial.number)
            super().before_trial(study, trial)

    return Numbered()


def _study(optuna: Any, file: Path, name: str) -> Any:
    """The study of this name; made where there is none."""
    try:
        return optuna.create_study(
            storage=_storage(optuna, file),
            study_name=name,
            direction="maximize",
            sampler=_sampler(),
            load_if_exists=True,
        )
    except Exception as error:  # whatever the database and its layers raise
        fix = "Name another folder with --out."
        received = str(error).split("\n")[0]
        raise DataError(
            f"study in {file.parent}", expected=f"{file.name} to be one", received=received, fix=fix
        ) from error


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
    """The values as arguments of `ckd run` and `ckd distil`, to the last digit."""
    options = ("lr", "recipe", "teacher")
    return " ".join(f"--{n} {v}" if n in options else f"--set {n}={v}" for n, v in best.items())
