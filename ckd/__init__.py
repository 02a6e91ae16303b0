"""ckd: networks that learn from teachers, from their own past self or from other networks.

`import ckd` is light: what needs torch or Avalanche (which takes seconds to import) is loaded when it is first named.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ckd.errors import CkdError

if TYPE_CHECKING:
    from ckd.engine import Engine
    from ckd.evaluation import AccuracyMatrix
    from ckd.memory import Memory
    from ckd.objective import Adaptor, Objective, Term, tap
    from ckd.plugins import AccuracyRecorder, SelfDistillation, TensorLoader
    from ckd.report import load_results
    from ckd.teachers import Ema, Ensemble, Fixed, Snapshot

__version__ = "0.1.0"

_HOME = {
    "AccuracyMatrix": "ckd.evaluation",
    "AccuracyRecorder": "ckd.plugins",
    "Adaptor": "ckd.objective",
    "Ema": "ckd.teachers",
    "Engine": "ckd.engine",
    "Ensemble": "ckd.teachers",
    "Fixed": "ckd.teachers",
    "Memory": "ckd.memory",
    "Objective": "ckd.objective",
    "SelfDistillation": "ckd.plugins",
    "Snapshot": "ckd.teachers",
    "TensorLoader": "ckd.plugins",
    "Term": "ckd.objective",
    "load_results": "ckd.report",
    "tap": "ckd.objective",
}

__all__ = [
    "AccuracyMatrix",
    "AccuracyRecorder",
    "Adaptor",
    "CkdError",
    "Ema",
    "Engine",
    "Ensemble",
    "Fixed",
    "Memory",
    "Objective",
    "SelfDistillation",
    "Snapshot",
    "TensorLoader",
    "Term",
    "load_results",
    "tap",
]

_MODULES = (
    "anchors",
    "bench",
    "checkpoint",
    "cli",
    "data",
    "deploy",
    "engine",
    "evaluation",
    "heads",
    "losses",
    "memory",
    "networks",
    "objective",
    "plugins",
    "recipes",
    "report",
    "teachers",
    "views",
)


def __dir__() -> list[str]:
    return [*globals(), *_HOME, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"ckd.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'ckd' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
