"""The folder where data sets are kept, and how they get there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ckd.errors import DataError

DEFAULT_ROOT = Path("~/.cache/ckd")


def resolve(data_root: str | Path | None) -> Path:
    """The data root as a path; `~/.cache/ckd` unless given."""
    return Path(data_root or DEFAULT_ROOT).expanduser()


def load_or_download(name: str, data_root: str | Path | None, load: Callable[[Path, bool], Any]) -> Any:
    """What `load(root, download)` finds under the root; it is only told to download if the files are not there.

    Raises:
        DataError: the files are not there, and the root cannot be written or the download failed.
    """
    root = resolve(data_root)
    try:
        return load(root, False)
    except RuntimeError as error:  # torchvision's "Dataset not found or corrupted"
        first = error
    except (OSError, ValueError, AssertionError, EOFError, TypeError) as error:
        raise DataError(
            f"{name} under {root}",
            expected="files as they were published",
            received=f"damaged ones ({error})",
            fix="Delete them, so that they are downloaded again, or name another folder with --data-root.",
        ) from error
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(name, root, error) from error
    if not os.access(root, os.W_OK):
        raise _not_writable(name, root, "no permission to write")
    try:
        return load(root, True)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{name} under {root}",
            expected="its files, or a network to download them",
            received=f"{first}; {error}",
            fix="Name a folder that has them with --data-root (data_root=...), or connect to a network.",
        ) from error


def _not_writable(name: str, root: Path, reason: object) -> DataError:
    return DataError(
        f"data root for {name}",
        expected="a folder that holds the files or can be written",
        received=f"{root} ({reason})",
        fix="Name another folder with --data-root (data_root=...).",
    )
