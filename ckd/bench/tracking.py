"""Which trackers follow the runs of a suite, and what they are told while a run trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ckd.bench.result import Result, writable_error
from ckd.bench.spec import RunSpec
from ckd.bench.trackers import TRACKERS, Tracker
from ckd.errors import ConfigError, UnknownNameError


@dataclass(frozen=True)
class Tracking:
    """Trackers by name; each writes into a folder of its name beside a run's result. It changes no number of a run.

    Attributes:
        names: of `TRACKERS`.
        out: the output folder.

    Raises:
        UnknownNameError: no such tracker.
        ConfigError: a tracker whose package is not installed.
    """

    names: tuple[str, ...] = ()
    out: Path = Path()

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in TRACKERS:
                raise UnknownNameError.of("tracker", name, TRACKERS)
            package = TRACKERS[name][0]
            if package is not None and find_spec(package) is None:
                fix = f"Install it: pip install {package}"
                raise ConfigError(f"--track {name}", expected=f"{package} installed", received="none", fix=fix)

    @contextmanager
    def following(self, spec: RunSpec) -> Iterator[Tracked]:
        """What follows a run of `spec`, closed at the end however that comes.

        Raises:
            DataError: a folder that cannot be written.
        """
        with ExitStack() as stack:
            trackers = []
            for name in dict.fromkeys(self.names):
                folder = self.out / spec.folder / name
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                    trackers.append(TRACKERS[name][1](spec, folder))
                except OSError as error:
                    raise writable_error(self.out, error) from error
                stack.callback(trackers[-1].close)
            yield Tracked(trackers)


class Tracked:
    """One run, told to its trackers in the order of its steps."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = trackers
        self._told: dict[str, int] = {}

    def losses(self, curves: Mapping[str, Sequence[tuple[int, float]]]) -> None:
        """What is new in the curves of named losses, (iteration, value) pairs under names as Avalanche has them."""
        new: dict[int, dict[str, float]] = {}
        for name, curve in curves.items():
            for step, value in curve[self._told.get(name, 0) :]:
                new.setdefault(step, {})[f"loss/{name.rsplit('/', 1)[1]}"] = value
            self._told[name] = len(curve)
        for step, values in sorted(new.items()):
            self._log(step, values)

    def accuracies(self, step: int, found: Sequence[float], so_far: int) -> None:
        """Accuracy on each test experience, and their mean over those `so_far`, if any has begun."""
        values = {f"accuracy/experience_{j + 1}": accuracy for j, accuracy in enumerate(found)}
        mean = {"accuracy/average": sum(found[:so_far]) / so_far} if so_far else {}
        self._log(step, {**values, **mean})

    def end(self, result: Result) -> None:
        """What the run found."""
        for tracker in self._trackers:
            tracker.end(result)

    def _log(self, step: int, values: Mapping[str, float]) -> None:
        for tracker in self._trackers:
            tracker.log(step, values)
