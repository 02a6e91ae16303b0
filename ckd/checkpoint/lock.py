"""One process at a run: a lock that ends with the process that holds it, however that ends."""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ckd.checkpoint.folder import CheckpointError

LOCK = "lock"
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What file systems without locks answer, as some of a network do."""


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Within this, no other process is let in here for the same folder.

    It does nothing where there are no such locks: on Windows, and on file systems that have none. The lock is the
    system's, on a file that names the process: one that was killed leaves none behind.

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
    flags = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
    while True:
        with _opened(folder) as file:
            try:
                fcntl.flock(file, flags)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise _taken(folder, file) from error
            if _is_there(file):  # else the process that had it removed the file, and others lock a new one
                file.truncate(0)
                file.write(f"process {os.getpid()} on {platform.node()}")
                file.flush()
                yield
                return


def _taken(folder: Path, file: TextIO) -> CheckpointError:
    file.seek(0)
    received, fix = file.read() or "another process", "Wait for it or end it; or name another folder."
    return CheckpointError(f"run in {folder}", expected="no other process at it", received=received, fix=fix)


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
