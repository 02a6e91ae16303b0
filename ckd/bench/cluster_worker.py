"""What a worker of a cluster does, once it is known to have this code."""

from __future__ import annotations

import os
import pickle
from contextlib import suppress
from typing import Any

import torch

from ckd.bench.allocator import keep_freed_memory


def work(i: int, act: bytes, folder: str, reports: Any) -> bytes:
    """In a worker: do run `i`; its result, pickled, as arrays that Ray unpickles lie in memory that it takes back."""
    torch.set_num_threads(1)
    keep_freed_memory()
    with suppress(OSError):  # files that are named relative to it are found where machines share it
        os.chdir(folder)

    def progress(*state: Any) -> None:
        with suppress(Exception):  # a report that is lost is not missed
            reports.put.remote(i, *state)

    progress(0.0, 1, 0.0)
    return pickle.dumps(pickle.loads(act)(progress=progress))
