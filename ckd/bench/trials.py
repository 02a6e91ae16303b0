"""Trials of a study that several processes share: which of them count, and which are to go on in another process."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ckd.bench.code import CODE
from ckd.bench.saving import Saving
from ckd.bench.spec import RunSpec

_FIRST, _FOUND, _CODE = "first", "accuracies", "code"
"""Noted of a trial: the one whose checkpoints it goes on from, the accuracies of its runs so far, who wrote those."""

LONG = timedelta(days=1)
"""A trial of another machine that began so long ago is taken for one that was killed."""


def claim(trial: Any) -> int:
    """Note that this process runs the trial; returns how many earlier ones count: finished, or still run by somebody.

    Trials are numbered by the database one by one, so that of several processes only one finds a number free.
    """
    trial.set_user_attr("process", [socket.gethostname(), os.getpid()])
    earlier = (t for t in trial.study.get_trials(deepcopy=False) if t.number < trial.number)
    return sum(t.state.name == "COMPLETE" or (t.state.name == "RUNNING" and not _dead(t)) for t in earlier)


def take_up_dead(study: Any) -> None:
    """Mark as failed the trials whose process has ended before them, and line up one that goes on for each.

    Only one process at a time may do so.
    """
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False):
        if trial.state == TrialState.RUNNING and _dead(trial):
            study.tell(trial.number, state=TrialState.FAIL)
            line_up_again(study, trial)


def line_up_again(study: Any, trial: Any) -> None:
    """Let the next trial have the values of this one, its checkpoints and the accuracies that it has found."""
    known = {name: trial.user_attrs[name] for name in (_CODE, _FOUND) if name in trial.user_attrs}
    study.enqueue_trial(trial.params, user_attrs={**known, _FIRST: _first(trial)})


def accuracies(
    trial: Any, specs: Sequence[RunSpec], out: Path, every: int | None, act: Callable[[int, Saving | None], Any]
) -> list[float]:
    """The accuracy of each run of a trial; runs that an earlier process finished are not run again.

    Args:
        trial: whose runs.
        specs: the runs.
        out: where the study's checkpoints are; they are gone afterwards.
        every: see `Saving`; None for no checkpoints.
        act: act(number of the run, how it is saved) -> its result.
    """
    folder = out / str(_first(trial))
    if trial.user_attrs.get(_CODE) != CODE:  # checkpoints of other code are refused
        shutil.rmtree(folder, ignore_errors=True)
        trial.set_user_attr(_CODE, CODE)
    found = list(map(float, trial.user_attrs.get(_FOUND, [])))
    try:
        for i in range(len(found), len(specs)):
            found.append(act(i, None if every is None else Saving(folder, every)).matrix.average_accuracy())
            trial.set_user_attr(_FOUND, found)
    except Exception:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    return found


def clean(study: Any, folder: Path) -> None:
    """Remove the folder of checkpoints, unless another process still writes there."""
    if not any(trial.state.name == "RUNNING" and not _dead(trial) for trial in study.get_trials(deepcopy=False)):
        shutil.rmtree(folder, ignore_errors=True)


def _first(trial: Any) -> int:
    """Number of the trial whose checkpoints this one goes on from: its own, unless that was ended."""
    return int(trial.user_attrs.get(_FIRST, trial.number))


def _dead(trial: Any) -> bool:
    """Whether the process that runs a trial has ended, as far as that can be told."""
    host, process = trial.user_attrs.get("process", ["", 0])
    if host == socket.gethostname() and sys.platform != "win32":
        try:
            os.kill(process, 0)
        except OSError as error:
            return isinstance(error, ProcessLookupError)
        return False
    return bool(datetime.now() - trial.datetime_start > LONG)
