"""Whose outputs are targets: past and average selves, given networks, ensembles, soft labels. Frozen, in eval mode."""

from ckd.teachers.ema import Ema
from ckd.teachers.ensemble import Ensemble
from ckd.teachers.fingerprint import fingerprint
from ckd.teachers.fixed import Fixed
from ckd.teachers.input_keys import input_keys
from ckd.teachers.snapshot import Snapshot
from ckd.teachers.soft_labels import SoftLabels
from ckd.teachers.teacher import Frozen, Teacher
from ckd.teachers.write_soft_labels import write_soft_labels

__all__ = [
    "Ema",
    "Ensemble",
    "Fixed",
    "Frozen",
    "Snapshot",
    "SoftLabels",
    "Teacher",
    "fingerprint",
    "input_keys",
    "write_soft_labels",
]
