"""Freed memory kept for the next step, where the C library would give it back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of glibc's mallopt(3)
_KEPT = 2**30


def keep_freed_memory() -> None:
    """Let glibc's malloc serve tensors up to 1 GiB from memory that this process already has.

    By default a tensor of a few hundred kilobytes is mapped anew at every step and its pages are zeroed by the kernel:
    5 to 10% of a step of a small network on a CPU. The setting holds for the whole process, so only a command that owns
    its process should make it. Does nothing where there is no glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        for name in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
            mallopt(name, _KEPT)
