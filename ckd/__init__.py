"""ckd: continual learning by self-distillation, as one plugin for Avalanche.

`import ckd` is light: what needs Avalanche (which takes seconds to import) is loaded when it is first named.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ckd.errors import CkdError

if TYPE_CHECKING:
    from ckd.evaluation import AccuracyMatrix
    from ckd.memory import Memory
    from ckd.objective import Objective, Term
    from ckd.plugins import AccuracyRecorder, SelfDistillation, TensorLoader
    from ckd.teachers import Snapshot

__version__ = "0.1.0"

_HOME = {
    "AccuracyMatrix": "ckd.evaluation",
    "AccuracyRecorder": "ckd.plugins",
    "Memory": "ckd.memory",
    "Objective": "ckd.objective",
    "SelfDistillation": "ckd.plugins",
    "Snapshot": "ckd.teachers",
    "TensorLoader": "ckd.plugins",
    "Term": "ckd.objective",
}

__all__ = [
    "AccuracyMatrix",
    "AccuracyRecorder",
    "CkdError",
    "Memory",
    "Objective",
    "SelfDistillation",
    "Snapshot",
    "TensorLoader",
    "Term",
]


def __dir__() -> list[str]:
    return [*globals(), *_HOME]


_MODULES = ("answers", "bench", "data", "evaluation", "losses", "memory", "objective", "plugins", "recipes", "teachers")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"ckd.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'ckd' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
