"""Trials of a study that several processes share: which of them count, and which nobody runs any more."""

from __future__ import annotations

import os
import socket
import sys
from datetime import datetime, timedelta
from typing import Any

LONG = timedelta(days=1)
"""A trial of another machine that began so long ago is taken for one that was killed."""


def claim(trial: Any) -> int:
    """Note that this process runs the trial; returns how many earlier ones count: finished, or still run by somebody.

    Trials are numbered by the database one by one, so that of several processes only one finds a number free.
    """
    trial.set_user_attr("process", [socket.gethostname(), os.getpid()])
    earlier = (t for t in trial.study.get_trials(deepcopy=False) if t.number < trial.number)
    return sum(t.state.name == "COMPLETE" or (t.state.name == "RUNNING" and not _dead(t)) for t in earlier)


def fail_dead(study: Any) -> None:
    """Mark as failed the trials whose process has ended before them."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False):
        if trial.state == TrialState.RUNNING and _dead(trial):
            study.tell(trial.number, state=TrialState.FAIL)


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
