"""Taking a student out of PyTorch: what is written, and that it still knows what it knew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich import box
from rich.table import Table
from torch import nn

from ckd.data import TensorStream
from ckd.deploy import accuracy_of, export_onnx, export_program, latencies, quantise_onnx

CALIBRATION = 512
"""Training samples that the ranges of 8-bit integers are taken from."""


@dataclass(frozen=True)
class Exported:
    """A file with the student.

    Attributes:
        file: where it is.
        nbytes: its size.
        accuracy: on the test data, from 0 to 1; None for a file that torch alone can run.
        latency: milliseconds for one sample on this machine; None for such a file.
    """

    file: Path
    nbytes: int
    accuracy: float | None = None
    latency: float | None = None


def export(kinds: Sequence[str], student: nn.Module, stream: TensorStream, out: Path) -> list[Exported]:
    """Write the student as "onnx", "int8" (ONNX in 8-bit integers) or "program" (torch.export), and try the files.

    Raises:
        CkdError: what `ckd.deploy` raises: a package is missing, or a network cannot be exported.
    """
    inputs, labels = next(stream.tensors("test"))
    onnx, integers, program = (out / f"student.{end}" for end in ("onnx", "int8.onnx", "pt2"))
    run: list[Path] = []
    if {"onnx", "int8"} & set(kinds):
        export_onnx(student, inputs[:2], onnx)
        run.append(onnx)
    if "int8" in kinds:
        training = next(stream.tensors("train"))[0]
        some = training[:: -(-len(training) // CALIBRATION)]
        quantise_onnx(onnx, integers, torch.split(some, 64))
        run.append(integers)
    times = latencies({file.name: file for file in run}, inputs[:1]) if run else {}
    found = [Exported(f, f.stat().st_size, accuracy_of(f, inputs, labels), times[f.name]) for f in run]
    if "program" in kinds:
        export_program(student, inputs[:2], program)
        found.append(Exported(program, program.stat().st_size))
    return found


def remove_others(content: bytes, out: Path) -> None:
    """Remove what was exported of the student in `out`, unless it is the one with these bytes."""
    student = out / "student.safetensors"
    if student.exists() and student.read_bytes() != content:
        for end in ("onnx", "int8.onnx", "pt2"):
            (out / f"student.{end}").unlink(missing_ok=True)


def table(found: Sequence[Exported], student: str) -> Table:
    """A row for each file of this student: bytes, accuracy in percent, milliseconds for one sample."""
    shown = Table(title=f"exported: {student}", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    shown.add_column("file", no_wrap=True)
    for column in ("kB", "accuracy", "ms"):
        shown.add_column(column, justify="right", no_wrap=True)
    for one in found:
        accuracy = "-" if one.accuracy is None else f"{100 * one.accuracy:.2f}"
        latency = "-" if one.latency is None else f"{one.latency:.3f}"
        shown.add_row(one.file.name, f"{one.nbytes / 1000:,.0f}", accuracy, latency)
    return shown
