"""One process at a run: a lock that ends with the process that holds it, however that ends."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ckd.checkpoint.folder import CheckpointError

LOCK = "lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Within this, no other process is let in here for the same folder; does nothing where there are no such locks.

    The lock is the system's, on a file that names the process: one that was killed leaves none behind.

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
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+")
    except OSError as error:
        fix = "Name another folder."
        raise CheckpointError(f"run in {folder}", expected="a place to write", received=error, fix=fix) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            expected, received = "no other process at it", file.read() or "another process"
            fix = "Wait for it or end it; or name another folder."
            raise CheckpointError(f"run in {folder}", expected=expected, received=received, fix=fix) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield
