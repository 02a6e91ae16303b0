"""Where people look at runs: TensorBoard, Weights & Biases, plain CSV files.

Avalanche's loggers do not serve here: they have no place for hyper-parameters or a matrix, and its CSVLogger has
columns for accuracy and loss alone.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from ckd.bench.result import Result
from ckd.bench.spec import RunSpec
from ckd.errors import ConfigError

FINAL = ("average_accuracy", "task_average_accuracy", "forgetting")
"""What sums a run up, under "final/"."""


class Tracker(Protocol):
    """Follows one run. It is made when the run begins, with its spec and a folder of its own that is there."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Named numbers after so many training steps; steps never fall."""

    def end(self, result: Result) -> None:
        """What the run found."""

    def close(self) -> None:
        """The run has ended, with a result or without."""


def hyper_parameters(spec: RunSpec) -> dict[str, Any]:
    """Every field of the spec, those of the recipe as settings.NAME."""
    decided = asdict(spec)
    return decided | {f"settings.{name}": value for name, value in decided.pop("settings").items()}


def final(result: Result) -> dict[str, float]:
    """What sums the run up, by name; without forgetting where it is not defined."""
    values = (result.matrix.average_accuracy(), result.task_matrix.average_accuracy(), result.forgetting)
    return {f"final/{name}": value for name, value in zip(FINAL, values, strict=True) if value is not None}


def matrix_rows(result: Result) -> list[list[Any]]:
    """The accuracy matrix as a table with a head: experiences trained on, then accuracy on each test experience."""
    rows, initial = result.matrix.values.tolist(), result.matrix.initial
    trained = range(1, len(rows) + 1) if result.matrix.sequential else [len(rows[0])]
    first = [] if initial is None else [[0, *initial.tolist()]]
    head = ["trained", *(f"experience_{j + 1}" for j in range(len(rows[0])))]
    return [head, *first, *([n, *row] for n, row in zip(trained, rows, strict=True))]


class Csv:
    """metrics.csv (step, name, value), settings.csv (name, value) and, at the end, accuracy_matrix.csv."""

    def __init__(self, spec: RunSpec, folder: Path) -> None:
        self._folder = folder
        _write(folder / "settings.csv", [["name", "value"], *map(list, hyper_parameters(spec).items())])
        self._file = (folder / "metrics.csv").open("w", newline="")
        self._metrics = csv.writer(self._file)
        self._metrics.writerow(["step", "name", "value"])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """A row for each."""
        self._metrics.writerows([step, name, value] for name, value in values.items())
        self._file.flush()

    def end(self, result: Result) -> None:
        """The summary as rows, and the matrix as a file."""
        self.log(result.steps, final(result))
        _write(self._folder / "accuracy_matrix.csv", matrix_rows(result))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoard:
    """Scalars, the run among its hyper-parameters, and the matrix as a text; event files of an earlier run go."""

    def __init__(self, spec: RunSpec, folder: Path) -> None:
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer: Any = import_module("torch.utils.tensorboard").SummaryWriter(str(folder))
        plain = {k: v if isinstance(v, int | float) else str(v) for k, v in hyper_parameters(spec).items()}
        summary: Any = import_module("torch.utils.tensorboard.summary")
        names = dict.fromkeys((f"final/{name}" for name in FINAL), 0.0)
        *begin, self._ended = summary.hparams(plain, names)
        for each in begin:
            self._writer.file_writer.add_summary(each)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """A scalar for each."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def end(self, result: Result) -> None:
        """The summary, the matrix, and that the run has ended well."""
        self.log(result.steps, final(result))
        head, *rows = matrix_rows(result)
        lines = [head, ["---"] * len(head), *([n, *(f"{value:.4f}" for value in row)] for n, *row in rows)]
        self._writer.add_text("accuracy_matrix", "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines))
        self._writer.file_writer.add_summary(self._ended)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


class WeightsAndBiases:
    """A run of the project "ckd": offline unless WANDB_MODE says otherwise; `wandb sync` uploads it.

    Raises:
        ConfigError: a run that cannot be started, such as online without a login.
    """

    def __init__(self, spec: RunSpec, folder: Path) -> None:
        self._wandb: Any = import_module("wandb")
        mode = os.environ.get("WANDB_MODE", "offline")
        try:
            self._run = self._wandb.init(
                project=os.environ.get("WANDB_PROJECT", "ckd"),
                name=spec.name,
                group=spec.folder.parent.as_posix(),
                dir=str(folder.parent),  # in which wandb makes the folder
                config=hyper_parameters(spec),
                mode=mode,
                reinit="create_new",  # a run of the user's own is left alone
                settings=self._wandb.Settings(console="off", silent=mode == "offline"),
            )
        except self._wandb.Error as error:
            fix = "Unset WANDB_MODE to stay offline."
            raise ConfigError("--track wandb", expected="a run that starts", received=error, fix=fix) from error

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """All at this step."""
        self._run.log(dict(values), step=step)

    def end(self, result: Result) -> None:
        """The summary, and the matrix as a table."""
        head, *rows = matrix_rows(result)
        table = self._wandb.Table(columns=head, data=rows)
        self._run.log({**final(result), "accuracy_matrix": table}, step=result.steps, commit=True)

    def close(self) -> None:
        """Write what is left."""
        self._run.finish()


TRACKERS: dict[str, tuple[str | None, Callable[[RunSpec, Path], Tracker]]] = {
    "csv": (None, Csv),
    "tensorboard": ("tensorboard", TensorBoard),
    "wandb": ("wandb", WeightsAndBiases),
}
"""The package that each needs, and what follows a run."""


def _write(file: Path, rows: list[list[Any]]) -> None:
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows(rows)
