"""Logits that another program has written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ckd.errors import DataError
from ckd.npz import opened
from ckd.outputs import class_axis

EXPECTED = "one floating array of finite logits (N, C), as numpy.savez(file, logits=...) writes it"


def npz_logits(file: str | Path) -> Tensor:
    """The array `logits` of an `.npz` file, or its only array, as float32 (N, C), (N, T, C) or (N, C, H, W).

    Raises:
        DataError: no such file, or no floating, finite, dense array of that kind; probabilities.
    """
    with opened(Path(file), "logits in", expected=EXPECTED) as content:
        names = list(content)
        name = "logits" if "logits" in names else "".join(names[:1])
        if name != "logits" and len(names) != 1:
            fix = "Save numpy.savez(file, logits=...); of a sparse matrix its .toarray()."
            raise _refused(file, f"the arrays {', '.join(names)}" if names else "no array", fix)
        values = content[name]
    if values.ndim < 2 or 0 in values.shape or not np.issubdtype(values.dtype, np.floating):
        raise _refused(file, f"{values.dtype} of shape {values.shape}", "Save the logits, before any argmax.")
    with np.errstate(over="ignore"):
        found = torch.from_numpy(values.astype(np.float32))
    if not bool(found.isfinite().all()):
        bad = int((~found.flatten(1).isfinite().all(1)).nonzero()[0, 0])
        raise _refused(file, f"NaN or infinity in row {bad}", "Leave such samples out.")
    sums = found.sum(class_axis(found))
    if bool((found >= 0).all()) and bool(((sums - 1).abs() < 1e-2).all()):
        raise _refused(file, "probabilities: no value below 0, and each row sums to 1", "Save their logarithms.")
    return found


def _refused(file: str | Path, received: str, fix: str) -> DataError:
    return DataError(f"logits in {file}", expected=EXPECTED, received=received, fix=fix)
