"""The only folder that speaks Avalanche: objectives, loaders and recorders as plugins."""

from ckd.plugins.distillation import SelfDistillation
from ckd.plugins.loader import LoaderWarning, TensorLoader
from ckd.plugins.recorder import AccuracyRecorder

__all__ = ["AccuracyRecorder", "LoaderWarning", "SelfDistillation", "TensorLoader"]
