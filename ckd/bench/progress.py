"""How far a suite is: bars on a terminal, elsewhere a line for each finished run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from types import TracebackType

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from ckd.bench.result import Result
from ckd.bench.spec import RunSpec
from ckd.names import short_name


@dataclass
class _Running:
    """A run under way: its bar, which part is done, and the seconds that this took."""

    bar: TaskID
    part: float = 0.0
    seconds: float = 0.0


class SuiteProgress:
    """Shows how far the runs of a suite are, and how long the rest takes; a context manager.

    Args:
        specs: all runs.
        kept: results of those that are finished already, by number.
        jobs: runs at a time; more if more are seen.
        console: where it is shown.
        called: how a run's method is called.
    """

    def __init__(
        self,
        specs: Sequence[RunSpec],
        kept: Mapping[int, Result],
        jobs: int,
        console: Console,
        called: Callable[[RunSpec], str] = attrgetter("label"),
    ) -> None:
        self._specs, self._jobs, self._called = specs, jobs, called
        self._several = len({spec.benchmark for spec in specs}) > 1
        self._ended = set(kept)
        self._running: dict[int, _Running] = {}
        self._seconds: dict[Path, list[float]] = {}  # of finished runs, by method
        for i, result in kept.items():
            self._note(i, result)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"))
        self._bars = Progress(*columns, console=console, auto_refresh=False, disable=not console.is_terminal)
        self._console = console
        self._suite = self._bars.add_task("suite", total=len(specs), completed=len(kept), state=self._state())
        if kept:
            self._print(f"{len(kept)} of {len(specs)} runs are finished already")

    def __enter__(self) -> SuiteProgress:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bars.stop()

    def report(self, i: int, done: float, total: int, seconds: float) -> None:
        """Run `i` has learnt so many of `total` experiences, in so many seconds of training and evaluation."""
        if i in self._ended:  # a report that its result overtook
            return
        if i not in self._running:
            self._running[i] = _Running(self._bars.add_task(self.name(i), total=1.0, state=""))
            self._jobs = max(self._jobs, len(self._running))
        run = self._running[i]
        run.part, run.seconds = done / total, seconds
        self._bars.update(run.bar, completed=run.part, state=f"{done:.1f}/{total} experiences, {_seconds(seconds)}")
        self._move()

    def finish(self, i: int, result: Result) -> None:
        """Run `i` has found this."""
        self._end(i)
        self._note(i, result)
        accuracy = f"{100 * result.matrix.average_accuracy():.2f}"
        self._tell(i, f"{accuracy} in {_seconds(sum(result.seconds.values()))}")

    def fail(self, i: int, error: object) -> None:
        """Run `i` ended without a result."""
        self._end(i)
        self._tell(i, str(error), style="red")

    def name(self, i: int) -> str:
        """How run `i` is called here."""
        spec = self._specs[i]
        benchmark = f"{short_name(spec.benchmark)}, " if self._several else ""
        return f"{benchmark}{self._called(spec)}, seed {spec.seed}"

    def left(self) -> float | None:
        """Seconds until all runs are done; None while nothing is known.

        A run takes as long as others of its method did, else as what it has done says, else as the methods' mean.
        """
        expected = {self._method(i): run.seconds / run.part for i, run in self._running.items() if run.part > 0}
        expected |= {method: float(np.mean(seconds)) for method, seconds in self._seconds.items()}
        if not expected:
            return None
        typical, left = float(np.mean(list(expected.values()))), 0.0
        for i in set(range(len(self._specs))) - self._ended:
            part = self._running[i].part if i in self._running else 0.0
            left += expected.get(self._method(i), typical) * (1 - part)
        return left / self._jobs

    def _method(self, i: int) -> Path:
        return self._specs[i].folder.parent

    def _end(self, i: int) -> None:
        self._ended.add(i)
        if i in self._running:
            self._bars.remove_task(self._running.pop(i).bar)

    def _note(self, i: int, result: Result) -> None:
        self._seconds.setdefault(self._method(i), []).append(sum(result.seconds.values()))

    def _tell(self, i: int, said: str, style: str | None = None) -> None:
        left = self.left() if len(self._ended) < len(self._specs) else None
        rest = "" if left is None else f", about {_duration(left)} left"
        self._print(f"[{len(self._ended)}/{len(self._specs)}] {self.name(i)}: {said}{rest}", style)
        self._move()

    def _print(self, line: str, style: str | None = None) -> None:
        self._console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)

    def _move(self) -> None:
        if not self._bars.disable:
            done = len(self._ended) + sum(run.part for run in self._running.values())
            self._bars.update(self._suite, completed=done, state=self._state())
            self._bars.refresh()

    def _state(self) -> str:
        left = self.left()
        rest = "" if left is None else f", about {_duration(left)} left"
        return f"{len(self._ended)}/{len(self._specs)} runs{rest}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
