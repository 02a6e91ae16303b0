"""Logits that another program has written."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ckd.errors import DataError
from ckd.outputs import class_axis

UNREADABLE = (OSError, ValueError, TypeError, EOFError, IndexError, AttributeError, zipfile.BadZipFile, zlib.error)


def npz_logits(file: str | Path) -> Tensor:
    """The array `logits` of an `.npz` file, or its only array, as float32 (N, C), (N, T, C) or (N, C, H, W).

    Raises:
        DataError: no such file, or no floating, finite, dense array of that kind; probabilities.
    """
    try:
        with Path(file).open("rb") as opened, np.load(opened, allow_pickle=False) as content:
            names = list(content)
            name = "logits" if "logits" in names else names[0]
            if name != "logits" and len(names) > 1:
                fix = "Save numpy.savez(file, logits=...); of a sparse matrix its .toarray()."
                raise _refused(file, f"the arrays {', '.join(names)}", fix)
            values = content[name]
    except DataError:
        raise
    except UNREADABLE as error:
        raise _refused(file, type(error).__name__, "Check the path.") from error
    if values.ndim < 2 or 0 in values.shape or not np.issubdtype(values.dtype, np.floating):
        raise _refused(file, f"{values.dtype} of shape {values.shape}", "Save the logits, before any argmax.")
    found = torch.from_numpy(values.astype(np.float32))
    if not bool(found.isfinite().all()):
        bad = int((~found.flatten(1).isfinite().all(1)).nonzero()[0, 0])
        raise _refused(file, f"NaN or infinity in row {bad}", "Leave such samples out.")
    sums = found.sum(class_axis(found))
    if bool((found >= 0).all()) and bool(((sums - 1).abs() < 1e-2).all()):
        raise _refused(file, "probabilities: no value below 0, and each row sums to 1", "Save their logarithms.")
    return found


def _refused(file: str | Path, received: str, fix: str) -> DataError:
    expected = "one floating array of finite logits (N, C), as numpy.savez(file, logits=...) writes it"
    return DataError(f"logits in {file}", expected=expected, received=received, fix=fix)
