"""What a run notes beside what its plugins do: seconds, evaluations within experiences, what trackers were told."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ckd.bench.tracking import Tracked
from ckd.evaluation import Within


class Stopwatch:
    """Seconds in training and in evaluation; one within the other counts once, as what is within."""

    def __init__(self) -> None:
        self.seconds = {"training": 0.0, "evaluation": 0.0}
        self._what: str | None = None
        self._since = 0.0

    @contextmanager
    def timing(self, what: str | None) -> Iterator[None]:
        """Add the seconds that pass in here; None leaves them out."""
        outer = self._what
        self._turn(what)
        yield
        self._turn(outer)

    def now(self) -> float:
        """All seconds so far, with those under way."""
        self._turn(self._what)
        return sum(self.seconds.values())

    def restart(self, seconds: Mapping[str, float]) -> None:
        """Go on from so many seconds."""
        self.seconds, self._since = dict(seconds), time.perf_counter()

    def _turn(self, what: str | None) -> None:
        """Note what has passed; from now on it is `what`."""
        now = time.perf_counter()
        if self._what is not None:
            self.seconds[self._what] += now - self._since
        self._what, self._since = what, now


class Notes:
    """The notes of a run; saved with its checkpoints."""

    def __init__(self) -> None:
        self.watch = Stopwatch()
        self.within: list[Within] = []
        self._told: list[tuple[int, Sequence[float], int]] = []

    def tell(
        self, tracked: Tracked, losses: Mapping[str, Sequence[tuple[int, float]]], step: int, found: Any, so_far: int
    ) -> None:
        """Tell the trackers accuracies after so many steps, and the losses up to there; see `Tracked`."""
        tracked.losses(losses)
        tracked.accuracies(step, found, so_far)
        self._told.append((step, list(found), so_far))

    def tell_again(self, tracked: Tracked, losses: Mapping[str, Sequence[tuple[int, float]]]) -> None:
        """Tell new trackers what those of an interrupted run were told."""
        for step, found, so_far in self._told:
            tracked.losses({name: [point for point in curve if point[0] <= step] for name, curve in losses.items()})
            tracked.accuracies(step, found, so_far)

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        self.watch.now()
        return {"seconds": self.watch.seconds, "within": self.within, "told": self._told}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.watch.restart(state["seconds"])
        self.within[:] = [Within(learnt, step, tuple(found)) for learnt, step, found in state["within"]]
        self._told = [(step, found, so_far) for step, found, so_far in state["told"]]
