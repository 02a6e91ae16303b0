"""One process at a run: a lock that ends with the process that holds it, however that ends."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ckd.checkpoint.folder import CheckpointError

LOCK = "lock"


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Within this, no other process is let in here for the same folder; does nothing where there are no such locks.

    The lock is the system's, on a file that names the process: one that was killed leaves none behind.

    Args:
        folder: made where there is none.
        wait: for another process to be done, in the place of an error.

    Raises:
        CheckpointError: another process is at it, or the folder cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with locked(Path(folder)):
        ...         print((Path(folder) / "lock").read_text().split()[0])
        process
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    while True:
        with _opened(folder) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                expected, received = "no other process at it", file.read() or "another process"
                fix = "Wait for it or end it; or name another folder."
                raise CheckpointError(f"run in {folder}", expected=expected, received=received, fix=fix) from error
            if _is_there(file):  # else the process that had it removed the file, and others lock a new one
                file.truncate(0)
                file.write(f"process {os.getpid()} on {platform.node()}")
                file.flush()
                yield
                return


def _opened(folder: Path) -> TextIO:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / LOCK).open("a+")
    except OSError as error:
        fix = "Name another folder."
        raise CheckpointError(f"run in {folder}", expected="a place to write", received=error, fix=fix) from error


def _is_there(file: TextIO) -> bool:
    """Whether the open file is still the one of its name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(file.name))
    except FileNotFoundError:
        return False
