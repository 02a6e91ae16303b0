"""A user's own arrays, from one `.npz` file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ckd.data.arrays import Arrays, arrays
from ckd.errors import DataError
from ckd.npz import opened

KEYS = ("x_train", "y_train", "x_test", "y_test")


def npz(file: str | Path) -> Arrays:
    """The arrays x_train, y_train, x_test and y_test of an `.npz` file, as `ckd.data.arrays` takes them.

    Raises:
        DataError: no such file, not an npz file, a key that is missing, or arrays that `arrays` refuses.
    """
    found = read(Path(file))
    return arrays(*(found[key] for key in KEYS))


def read(file: Path) -> dict[str, NDArray[np.generic]]:
    """The four arrays of the file, by key."""
    with opened(file, "file", expected="an .npz file of numbers, as numpy.savez writes it") as found:
        missing = [key for key in KEYS if key not in found]
        if missing:
            raise DataError(
                f"arrays in {file}",
                expected=f"the keys {', '.join(KEYS)}",
                received=f"{', '.join(found) or 'none'} (no {', '.join(missing)})",
                fix="Save with numpy.savez(file, x_train=..., y_train=..., x_test=..., y_test=...).",
            )
        return {key: found[key] for key in KEYS}
