"""What a run found, as a file that says how it was made."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ckd.bench.code import CODE
from ckd.bench.spec import RunSpec
from ckd.bench.typed import check
from ckd.errors import DataError
from ckd.evaluation import AccuracyMatrix, Predictions, Within

FILE = "result.json"
PREDICTIONS = "predictions.npz"
NETWORK = "network.safetensors"
DIVERGED = "diverged.json"
"""In the place of these where a run diverged: what was run, and what happened."""

FORMAT = 2
"""Of `result.json`; files without a number are of format 1, which has no digest of the code."""


UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError)
"""What reading a file of JSON raises that holds something else than it should."""


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        spec: what was run.
        matrix: the accuracy matrix, among all classes.
        task_matrix: the same among the classes of the tested experience alone.
        losses: mean of each named loss, (iteration, value) pairs by name.
        seconds: wall time in training and in evaluation, without loading data and building the network.
        memory_bytes: state held for the method at the end: inputs, labels, logits, teachers.
        made: versions, digest of the code, machine; of a compiled network how many graphs, or why it ran uncompiled.
        predictions: for every test sample after every experience; None for results of versions that kept none.
        network: safetensors of the network that predicts at the end, with what it is in the header; None unless asked
            for.
        steps: training steps; 0 for results of versions that did not count them.
        within: evaluations within experiences, in order, if the run made any: in the file `[learnt, step, [accuracy on
            each test experience so far]]`, where `learnt` experiences came before and `step` counts from 1 in each.
            Joint training has one experience, which holds all of them.
    """

    spec: RunSpec
    matrix: AccuracyMatrix
    task_matrix: AccuracyMatrix
    losses: dict[str, list[tuple[int, float]]]
    seconds: dict[str, float]
    memory_bytes: dict[str, int]
    made: dict[str, str]
    predictions: Predictions | None = None
    steps: int = 0
    within: Sequence[Within] = ()
    network: bytes | None = None

    @property
    def forgetting(self) -> float | None:
        """Forgetting, where it is defined."""
        return self.matrix.forgetting() if self.matrix.sequential else None


def save(result: Result, out: Path) -> Path:
    """Write `predictions.npz`, `network.safetensors` and then `result.json` under `out`, each whole or not at all.

    Returns the path of `result.json`.

    Raises:
        DataError: a folder that cannot be written.
    """
    file = out / result.spec.folder / FILE
    matrix, task_matrix = (json.loads(m.to_json()) for m in (result.matrix, result.task_matrix))
    content = {
        "format": FORMAT,
        **asdict(result.spec),
        "accuracy_matrix": matrix["rows"],
        "initial_accuracy": matrix["initial"],
        "task_accuracy_matrix": task_matrix["rows"],
        "task_initial_accuracy": task_matrix["initial"],
        "average_accuracy": result.matrix.average_accuracy(),
        "task_average_accuracy": result.task_matrix.average_accuracy(),
        "forgetting": result.forgetting,
        "steps": result.steps,
        "seconds": result.seconds,
        "memory_bytes": result.memory_bytes,
        "losses": result.losses,
        "within": result.within,
        "made": result.made,
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_name(DIVERGED).unlink(missing_ok=True)
        if result.predictions is not None:
            result.predictions.save(file.with_name(PREDICTIONS))
        if result.network is not None:
            _write(file.with_name(NETWORK), result.network)
        _write(file, json.dumps(content, indent=1).encode())
    except OSError as error:
        raise writable_error(out, error) from error
    return file


def save_diverged(spec: RunSpec, reason: str, out: Path) -> Path:
    """Note under `out` that a run diverged, in the place of what an earlier run found; returns the file.

    Raises:
        DataError: a folder that cannot be written.
    """
    file = out / spec.folder / DIVERGED
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        for earlier in (FILE, PREDICTIONS, NETWORK):
            file.with_name(earlier).unlink(missing_ok=True)
        content = {"format": FORMAT, **asdict(spec), "diverged": reason}
        _write(file, json.dumps(content, indent=1).encode())
    except OSError as error:
        raise writable_error(out, error) from error
    return file


def _write(file: Path, content: bytes) -> None:
    """Write a file, whole or not at all."""
    part = file.with_suffix(f".{os.getpid()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def load(file: Path) -> Result:
    """The result in `file`.

    Raises:
        DataError: not a result, or one of a newer format.
    """
    try:
        content = json.loads(file.read_text())
        if (newer := content.get("format", 1)) > FORMAT:
            raise ValueError(f"format {newer}, newer than {FORMAT}: a later version of ckd wrote it")
        spec = RunSpec.of(content)
        for name, kind in (("seconds", dict[str, float]), ("memory_bytes", dict[str, int]), ("made", dict[str, str])):
            check(name, content[name], kind)
        return Result(
            spec,
            _matrix(content, ""),
            _matrix(content, "task_"),
            {name: [(int(x), float(y)) for x, y in curve] for name, curve in content["losses"].items()},
            content["seconds"],
            content["memory_bytes"],
            content["made"],
            steps=int(content.get("steps", 0)),
            within=[Within(int(n), int(s), tuple(map(float, found))) for n, s, found in content.get("within", [])],
        )
    except UNREADABLE as error:
        raise DataError(
            f"result {file}",
            expected="a result.json that this version can read",
            received=error if isinstance(error, ValueError) else repr(error),
            fix="Use --force to run it again, or another --out.",
        ) from error


def _matrix(content: dict[str, Any], of: str) -> AccuracyMatrix:
    rows, initial = content[f"{of}accuracy_matrix"], content[f"{of}initial_accuracy"]
    found = AccuracyMatrix.from_json(json.dumps({"rows": rows, "initial": initial}))
    if np.isnan(found.values[-1]).any():
        raise ValueError("a matrix without an accuracy at the end")
    return found


def check_writable(out: Path, folder: Path) -> None:
    """Make `folder`, below the output folder `out` or this itself, and try to write there.

    Raises:
        DataError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:  # of value, for a name with a null
        raise writable_error(out, error) from error


def writable_error(out: Path, error: object) -> DataError:
    """The error for an output folder that cannot be written."""
    return DataError(
        f"output folder {out}",
        expected="a folder that can be written",
        received=error,
        fix="Name another folder with --out.",
    )


def provenance(device: str = "cpu") -> dict[str, str]:
    """Versions, digest of the code, machine, device and date."""
    packages = ("avalanche-ckd", "avalanche-lib", "torch", "torchvision", "numpy")
    found: dict[str, Any] = {name: version(name) for name in packages}
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    today = datetime.now(UTC).date().isoformat()
    return {
        **found,
        "code": CODE,
        "date": today,
        "device": device,
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": machine,
    }
