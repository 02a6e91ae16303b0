"""Reading `.npz` files that anybody may have written; nothing in them is ever unpickled."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckd.errors import CkdError, DataError

UNREADABLE = (OSError, ValueError, TypeError, LookupError, EOFError, AttributeError, RuntimeError, MemoryError)
ARCHIVE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, SyntaxError, OverflowError)


@contextmanager
def opened(file: Path, what: str, *, expected: str, fix: str = "") -> Iterator[Mapping[str, NDArray[Any]]]:
    """The arrays of a file by name, each read when it is asked for.

    Args:
        file: the path.
        what: the file is called in errors, as in "predictions".
        expected: what it should be.
        fix: what probably helps, if that is always the same.

    Raises:
        DataError: no such file, or one that is damaged, encrypted, of Python objects or too large; also for what is
            read within the context.
    """
    try:
        with file.open("rb") as read, np.load(read, allow_pickle=False) as content:
            yield _Arrays(content)
    except CkdError:
        raise
    except (*UNREADABLE, *ARCHIVE) as error:
        received = _told(error)
        numbers = "Save numbers: .astype('float32') for samples, .astype('int64') for labels."
        advice = fix or (numbers if "objects" in received else "Check the path.")
        raise DataError(f"{what} {file}", expected=expected, received=received, fix=advice) from error


class _Arrays(Mapping[str, NDArray[Any]]):
    """The entries of an archive; what is no array is refused, where numpy gives its bytes."""

    def __init__(self, content: Any) -> None:
        self._content = content

    def __getitem__(self, name: str) -> NDArray[Any]:
        found = self._content[name]
        if not isinstance(found, np.ndarray):
            raise ValueError(f"no array in the entry {name}")
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._content.files)

    def __len__(self) -> int:
        return len(self._content.files)


def _told(error: BaseException) -> str:
    """What was wrong with the file, in words that do not advise to unpickle it."""
    said = str(error)
    if "Object arrays" in said:
        return "an array of Python objects, which would have to be unpickled"
    if "allow_pickle" in said or "pickled" in said:
        return "something else than arrays, which would have to be unpickled"
    if isinstance(error, MemoryError):
        return "an array that is larger than the memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
