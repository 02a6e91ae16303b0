"""How long networks take, side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from statistics import median
from typing import Any

import torch

from ckd.deploy.inputs import Inputs, as_tuple, of_size
from ckd.deploy.running import Run, running
from ckd.errors import ConfigError


def latencies(
    networks: Mapping[str, Any], example: Inputs, *, batch_size: int = 1, repeats: int = 30
) -> dict[str, float]:
    """Milliseconds that each network takes for one batch on this machine, with the threads that are set.

    The networks are called in turn, `repeats` times each after two calls to warm up, so that whatever else the machine
    does slows all of them alike; each has the median of its calls. Modules run in eval mode without gradients, and
    their mode is restored.

    Args:
        networks: by name; modules, ONNX files, or sessions of ONNX Runtime.
        example: inputs (B, ...); repeated up to `batch_size`.
        batch_size: samples in a batch.
        repeats: calls of each network that are timed.

    Raises:
        ConfigError: a batch size or a number of calls below 1; ONNX files without the extra `export`.
        DataError: a file that is no network.

    Example:
        >>> from torch import nn
        >>> found = latencies({"small": nn.Linear(4, 2), "large": nn.Linear(4, 2000)}, torch.zeros(1, 4), repeats=3)
        >>> list(found)
        ['small', 'large']
    """
    for name, given in (("batch_size", batch_size), ("repeats", repeats)):
        if given < 1:
            raise ConfigError(name, expected="1 or more", received=given, fix="Leave it out.")
    inputs = of_size(as_tuple(example), batch_size)
    times: dict[str, list[float]] = {name: [] for name in networks}
    with ExitStack() as stack:
        runs = {name: stack.enter_context(running(network)) for name, network in networks.items()}
        for _ in range(repeats + 2):
            for name, run in runs.items():
                times[name].append(_milliseconds(run, inputs))
    return {name: median(found[2:]) for name, found in times.items()}


def _milliseconds(run: Run, inputs: tuple[torch.Tensor, ...]) -> float:
    start = time.perf_counter()
    run(inputs)
    return (time.perf_counter() - start) * 1000
