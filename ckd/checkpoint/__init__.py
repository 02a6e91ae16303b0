"""Checkpoints: all that a run depends on in files without code, so that it goes on bit for bit where it was."""

from ckd.checkpoint.file import Saved, Unusable
from ckd.checkpoint.folder import CheckpointError, Checkpoints, CheckpointWarning, warn
from ckd.checkpoint.generators import random_state, restore_random
from ckd.checkpoint.lock import locked
from ckd.checkpoint.loop import LoopCheckpoint
from ckd.checkpoint.model import describe, model_state, restore_model
from ckd.checkpoint.optimiser import optimiser_state, restore_optimiser
from ckd.checkpoint.place import Rest, labels_of

__all__ = [
    "CheckpointError",
    "CheckpointWarning",
    "Checkpoints",
    "LoopCheckpoint",
    "Rest",
    "Saved",
    "Unusable",
    "describe",
    "labels_of",
    "locked",
    "model_state",
    "optimiser_state",
    "random_state",
    "restore_model",
    "restore_optimiser",
    "restore_random",
    "warn",
]
