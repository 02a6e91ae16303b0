"""Bit-identical runs: one thread, seeded generators, and no operation whose sums depend on the order of threads."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from ckd.checkpoint import random_state, restore_random
from ckd.errors import ConfigError

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""Of cuBLAS, which reads it once: with it set so its sums have one order."""


@contextmanager
def deterministic(on: bool, seed: int, device: torch.device) -> Iterator[None]:
    """Within this, PyTorch computes in one thread and with deterministic algorithms; afterwards as before.

    The generators of numpy and Python are seeded too, for a network, view or recipe of one's own that draws from them.

    Args:
        on: whether it does anything.
        seed: of the run.
        device: where it is done.

    Raises:
        ConfigError: an operation that has no deterministic algorithm on this device.
    """
    if not on:
        yield
        return
    if device.type == "cuda":
        os.environ.setdefault(WORKSPACE, ":4096:8")
    generators, threads, benchmark = random_state(), torch.get_num_threads(), torch.backends.cudnn.benchmark
    before, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the global one
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        fix = "Leave --deterministic out, or use --device cpu."
        expected = "operations that have a deterministic algorithm"
        raise ConfigError("deterministic run", expected=expected, received=error, fix=fix) from error
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)
        torch.backends.cudnn.benchmark = benchmark
        torch.set_num_threads(threads)
        restore_random(generators)
