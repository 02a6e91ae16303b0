"""Which run a checkpoint is of: plain facts that must be the same when it is taken up."""

from __future__ import annotations

from typing import Any

import torch

from ckd.engine import Engine
from ckd.errors import ConfigError


def check_every(every: int) -> int:
    """The number of steps between two checkpoints.

    Raises:
        ConfigError: not a whole number from 0.
    """
    if not isinstance(every, int) or every < 0:
        expected, fix = "a whole number of steps, or 0 for none within an experience", "Try 100."
        raise ConfigError("steps between checkpoints", expected=expected, received=repr(every), fix=fix)
    return every


def about_optimiser(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Its class, and the hyper-parameters that it was given."""
    given = {name: _plain(value) for name, value in optimizer.defaults.items()}
    return {"optimiser": type(optimizer).__name__, "hyper-parameters": given}


def about_engine(engine: Engine | None) -> dict[str, Any]:
    """The name of its objective, its terms with their weights, and the size of its memory."""
    if engine is None:
        return {"objective": None}
    objective, memory = engine.objective, engine.objective.memory
    weights = {term.name: _plain(term.weight) for term in objective.all_terms}
    size = None if memory is None else memory.size
    return {"objective": objective.name, "terms and weights": weights, "memory size": size}


def _plain(value: Any) -> Any:
    """A value as JSON has it; of a function or an object its class alone."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, torch.Tensor):
        return value.tolist()
    return value if value is None or isinstance(value, bool | int | float | str) else type(value).__name__
