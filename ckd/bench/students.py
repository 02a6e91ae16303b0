"""What a distilled student knows, and what it costs: accuracy, agreement with its teacher, calibration, size, time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich import box
from rich.table import Table
from torch import nn

from ckd.bench.distil import Distillation
from ckd.bench.result import PREDICTIONS, Result
from ckd.bench.spec import NetworkFile, RunSpec
from ckd.bench.tables import mean_sd, over_seeds
from ckd.bench.teachers import file_of, loaded, read_network, teacher_of
from ckd.data import TensorStream
from ckd.deploy import cost, latencies
from ckd.evaluation import Predictions
from ckd.evaluation.calibration import expected_calibration_error
from ckd.evaluation.predictions import Kept, gather, read
from ckd.outputs import logits
from ckd.teachers import Teacher

TOGETHER = 64
"""Samples in the larger batch that is timed."""

BATCH = 100
"""Samples in a batch of the evaluation."""


@dataclass(frozen=True)
class Size:
    """What a network costs; of an ensemble, all its networks together.

    Attributes:
        parameters, multiply_adds, nbytes: as `ckd.deploy.cost` counts them.
        latency, batch_latency: milliseconds for one sample and for `TOGETHER`, on this machine.
    """

    parameters: int
    multiply_adds: int
    nbytes: int
    latency: float
    batch_latency: float


@dataclass(frozen=True)
class Method:
    """One row of the comparison.

    Attributes:
        name: "teacher", "student alone" or the recipe, and what was changed.
        network: its name.
        accuracy, agreement, calibration_error: by seed, from 0 to 1; agreement with what the teacher predicts, if any.
        size: what the network costs.
    """

    name: str
    network: str
    accuracy: list[float]
    agreement: list[float]
    calibration_error: list[float]
    size: Size


def methods(distillation: Distillation, results: Sequence[Result], out: Path, stream: TensorStream) -> list[Method]:
    """The teacher, the student alone and the student with each recipe; of pruned students, the dense one first.

    Args:
        distillation: what was run.
        results: of its runs; those that diverged are not among them.
        out: where they are, with predictions and networks.
        stream: the data.

    Raises:
        DataError: predictions or a network that cannot be read.
    """
    finished = {result.spec.folder for result in results}
    groups: dict[str, list[RunSpec]] = {}
    for spec in distillation.students:
        if spec.folder in finished:
            groups.setdefault(distillation.student_name(spec), []).append(spec)
    networks = {"teacher": _networks(distillation.teachers, out, stream)} if distillation.teachers else {}
    networks |= {name: _networks(specs[:1], out, stream) for name, specs in groups.items()}
    sizes = _sizes(networks, stream)
    found, said = [], None
    if "teacher" in networks:
        said = _predictions(teacher_of(networks["teacher"]), stream)
        found.append(Method("teacher", _name(distillation.teachers), *_known([said], said), sizes["teacher"]))
    for name, specs in groups.items():
        own = [Predictions.load(out / spec.folder / PREDICTIONS) for spec in specs]
        found.append(Method(name, _name(specs[:1]), *_known(own, said), sizes[name]))
    return found


def table(data: str, found: Sequence[Method], diverged: Sequence[RunSpec] = ()) -> Table:
    """Mean and standard deviation over the seeds in percent, a row for each method; times in milliseconds.

    Runs that diverged have a row each, without numbers.
    """
    seeds = max(len(method.accuracy) for method in found)
    shown = Table(title=f"{data}: percent, {over_seeds(seeds)}", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    for column in ("method", "network"):
        shown.add_column(column, no_wrap=True)
    for column in ("accuracy", "agreement", "ECE", "parameters", "multiply-adds", "kB", "ms", f"ms for {TOGETHER}"):
        shown.add_column(column, justify="right", no_wrap=True)
    for method in found:
        shown.add_row(
            method.name,
            method.network,
            *(mean_sd(values) for values in (method.accuracy, method.agreement, method.calibration_error)),
            f"{method.size.parameters:,}",
            f"{method.size.multiply_adds:,}",
            f"{method.size.nbytes / 1000:,.0f}",
            f"{method.size.latency:.2f}",
            f"{method.size.batch_latency:.1f}",
        )
    for spec in diverged:
        shown.add_row(f"{spec.label}, seed {spec.seed}", _name([spec]), "diverged", style="red")
    return shown


def save_methods(found: Sequence[Method], file: Path) -> None:
    """Write the comparison as JSON."""
    file.write_text(json.dumps([asdict(method) for method in found], indent=1) + "\n")


def _known(found: Sequence[Predictions], teacher: Predictions | None) -> tuple[list[float], list[float], list[float]]:
    """Accuracy, agreement with the teacher and calibration error of each."""
    return (
        [float((p.predicted[-1] == p.labels).mean()) for p in found],
        [float((p.predicted[-1] == teacher.predicted[-1]).mean()) for p in found] if teacher is not None else [],
        [expected_calibration_error(p) for p in found],
    )


def _name(trained: Sequence[RunSpec | NetworkFile]) -> str:
    name = Path(trained[0].network).name
    return f"{len(trained)} x {name}" if len(trained) > 1 else name


def _networks(trained: Sequence[RunSpec | NetworkFile], out: Path, stream: TensorStream) -> list[nn.Module]:
    return [loaded(one.network, read_network(file_of(one, out)), stream) for one in trained]


def _sizes(networks: Mapping[str, Sequence[nn.Module]], stream: TensorStream) -> dict[str, Size]:
    """What each costs; times are taken in turn."""
    example = next(stream.tensors("test"))[0][:1]
    every = {f"{name} {i}": one for name, several in networks.items() for i, one in enumerate(several)}
    times = [latencies(every, example, batch_size=n) for n in (1, TOGETHER)]
    found = {}
    for name, several in networks.items():
        each = [cost(one, example, batch_size=1, repeats=1) for one in several]
        alone, together = (sum(time[f"{name} {i}"] for i in range(len(several))) for time in times)
        found[name] = Size(
            sum(one.parameters for one in each),
            sum(one.multiply_adds for one in each),
            sum(one.nbytes for one in each),
            alone,
            together,
        )
    return found


def _predictions(teacher: Teacher, stream: TensorStream) -> Predictions:
    """What the teacher predicts for the test data."""
    kept = {}
    for j, (inputs, labels) in enumerate(stream.tensors("test")):
        said = torch.cat([teacher.outputs(batch)[logits] for batch in torch.split(inputs, BATCH)])
        kept[j] = Kept.of(labels, *read(said, labels, torch.arange(said.shape[1])))
    return gather({1: kept})
