"""The only folder that speaks Avalanche: objectives, loaders and recorders as plugins."""

from ckd.engine.given import BoundaryWarning
from ckd.plugins.checkpoint import Checkpoint, Stopped
from ckd.plugins.compiled import Compiled, CompileWarning
from ckd.plugins.distillation import SelfDistillation
from ckd.plugins.loader import LoaderWarning, TensorLoader
from ckd.plugins.lr_decay import LearningRateDecay
from ckd.plugins.mixed_precision import MixedPrecision, release
from ckd.plugins.mutual import MutualLearning
from ckd.plugins.recorder import AccuracyRecorder
from ckd.plugins.step_counter import StepCounter
from ckd.plugins.within_experiences import WithinExperiences

__all__ = [
    "AccuracyRecorder",
    "BoundaryWarning",
    "Checkpoint",
    "CompileWarning",
    "Compiled",
    "LearningRateDecay",
    "LoaderWarning",
    "MixedPrecision",
    "MutualLearning",
    "SelfDistillation",
    "StepCounter",
    "Stopped",
    "TensorLoader",
    "WithinExperiences",
    "release",
]
