"""What `SelfDistillation` refuses, and with which words."""

from __future__ import annotations

import warnings
from typing import Any

from avalanche.benchmarks import OnlineCLExperience

from ckd.engine.given import BoundaryWarning
from ckd.errors import ConfigError
from ckd.objective import Objective
from ckd.objective.objective import check_objective


def check_arguments(objective: Any, memory_size: Any, log_every: Any) -> None:
    """Raise a ConfigError for an objective that is none or was used, and for numbers that cannot work."""
    if objective is not None and memory_size is not None:
        raise ConfigError(
            "SelfDistillation",
            expected="an objective or a memory size",
            received="both",
            fix="Give the memory size to the recipe.",
        )
    if isinstance(objective, int):
        fix = "For the default recipe write SelfDistillation(memory_size=200)."
        raise ConfigError("SelfDistillation", expected="an Objective", received=objective, fix=fix)
    if objective is not None:
        check_objective("SelfDistillation", objective)
    if log_every is not None and (not isinstance(log_every, int) or log_every < 1):
        raise ConfigError("log_every", expected="a whole number from 1", received=log_every, fix="None is each epoch.")


def warn_of_boundaries(objective: Objective, experience: Any) -> None:
    """Say which parts never come into play in an online stream without access to its task boundaries."""
    if isinstance(experience, OnlineCLExperience) and not experience.access_task_boundaries:
        idle = sorted({type(part).__name__ for part in objective.parts.values() if part.needs_boundaries})
        idle += ["old classes"] if objective.needs_boundaries else []
        if idle:
            warnings.warn(
                f"objective {objective.name!r}: the stream does not mark its task boundaries, so these never come into "
                f"play: {', '.join(idle)}; er, er-ace, er-las, der, der++, mean-er and cls-er need none",
                BoundaryWarning,
                stacklevel=3,
            )
