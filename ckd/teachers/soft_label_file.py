"""The file of soft labels: safetensors, with what they are in its header.

Tensors: `keys` (N,) int64, `values` (N, ...) float16 or float32, `checks` (N,) int32 and, for the k largest, `classes`
(N, ..., k), unsigned or signed integers. The header has what `About` says as JSON, and its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ckd.errors import DataError
from ckd.outputs import class_axis
from ckd.teachers.stored_labels import About, StoredLabels, data_digest

FORMAT = 1
ENTRY = "ckd soft labels"
DTYPES = ("float16", "float32")

UNREADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError)


def load(file: Path) -> StoredLabels:
    """The soft labels in a file, whose values stay there until they are asked for.

    The header and all keys are checked now, each row when it is read. Nothing in the file is ever executed.

    Raises:
        DataError: no such file, one of another kind or a newer format, one that was cut short or changed.
    """
    try:
        with safe_open(file, framework="pt") as opened:  # tensors on a CPU are views of the mapped file
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            stored = StoredLabels(_about(opened.metadata() or {}), f"soft labels {file}", **tensors)
        _check(stored)
    except UNREADABLE as error:
        raise DataError(
            f"soft labels {file}",
            expected="a whole file that write_soft_labels has written",
            received=error if isinstance(error, ValueError | OSError | SafetensorError) else repr(error),
            fix="Check the path, or write it again.",
        ) from error
    return stored


def save(file: Path, blocks: Iterable[Mapping[str, Tensor]], about: Mapping[str, Any]) -> None:
    """Write the rows of all blocks, whole or not at all; until there are all they are in temporary files beside it.

    Args:
        file: replaced if it is there.
        blocks: one or more, tensors by the names of the file's: the same names and shapes but for the number of rows.
        about: the fields of `About` but for those that follow from the rows.

    Raises:
        DataError: a folder that cannot be written.
    """
    with ExitStack() as stack:
        pieces: dict[str, tuple[IO[bytes], Tensor]] = {}
        for block in blocks:
            with _writing(file):
                for name, rows in block.items():
                    if name not in pieces:
                        pieces[name] = stack.enter_context(tempfile.TemporaryFile(dir=file.parent)), rows[:0]
                    pieces[name][0].write(rows.contiguous().numpy().data)
        with _writing(file):
            tensors = {name: _mapped(opened, like) for name, (opened, like) in pieces.items()}
            keys = tensors["keys"]
            content = {"format": FORMAT, "rows": len(keys), "data": data_digest(keys.sort().values), **about}
            _replace(file, tensors, json.dumps(content))


def _replace(file: Path, tensors: dict[str, Tensor], text: str) -> None:
    part = file.with_suffix(f".{os.getpid()}.part")
    try:
        save_file(tensors, part, {ENTRY: text, "sha256": _digest(text)})
        with part.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _writing(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        fix = "Name a file in a folder that can be written and has room."
        raise DataError(f"soft labels {file}", expected="to write them", received=error, fix=fix) from error


def _mapped(opened: IO[bytes], like: Tensor) -> Tensor:
    """What was written as a tensor of this dtype and these shapes but for the number of rows."""
    opened.flush()
    values: NDArray[Any] = np.memmap(opened, like.numpy().dtype, mode="c")
    return torch.from_numpy(values.reshape(-1, *like.shape[1:]))


def _about(metadata: Mapping[str, str]) -> About:
    text = metadata.get(ENTRY)
    if text is None:
        raise ValueError("a safetensors file of something else")
    if metadata.get("sha256") != _digest(text):
        raise ValueError("a header that was changed since it was written")
    content = json.loads(text)
    if (newer := content.pop("format")) > FORMAT:
        raise ValueError(f"format {newer}, newer than {FORMAT}: a later version of ckd wrote it")
    return About(**content)


def _check(stored: StoredLabels) -> None:
    """Raise a ValueError for tensors that are not what the header says."""
    about, values, classes = stored.about, stored.values, stored.classes
    lengths = {len(values), len(stored.keys), len(stored.checks), about.rows}
    dtypes = str(values.dtype), stored.keys.dtype, stored.checks.dtype
    fit = lengths == {about.rows} and about.rows > 0 and stored.keys.dim() == stored.checks.dim() == 1
    fit &= about.dtype in DTYPES and dtypes == (f"torch.{about.dtype}", torch.int64, torch.int32)
    fit &= about.known is None or all(0 <= known < about.classes for known in about.known)
    if about.top_k is None:
        fit &= classes is None and values.dim() > 1 and values.shape[class_axis(values)] == about.classes
    else:
        fit &= classes is not None and (*classes.shape[:-1], classes.shape[-1] + 1) == values.shape
        fit &= values.shape[-1] == about.top_k + 1
    if not fit:
        raise ValueError("tensors that are not those of its header")
    if stored.digest != about.data:
        raise ValueError("keys that were changed since they were written")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
