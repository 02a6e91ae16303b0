"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ckd.errors import DataError


@contextmanager
def whole(file: str | Path) -> Iterator[Path]:
    """A file beside `file` to write and check; it takes its place at the end, and is removed after an error.

    Raises:
        DataError: a folder that cannot be written, or a folder of that name; before anything else is done.
    """
    file = Path(file)
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_dir():
            raise IsADirectoryError(f"{file} is a folder")
        part.touch()
    except OSError as error:
        fix = "Name a file in a folder of yours."
        raise DataError(f"file {file}", expected="a place to write to", received=error, fix=fix) from error
    try:
        yield part
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
