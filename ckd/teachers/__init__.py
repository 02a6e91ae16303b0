"""Whose outputs are targets: past and average selves, given networks, ensembles, specialists, soft labels, peers.

All but `Peer` are frozen and in eval mode.
"""

from ckd.teachers.confusable_classes import confusable_classes
from ckd.teachers.ema import Ema
from ckd.teachers.ensemble import Ensemble
from ckd.teachers.fingerprint import fingerprint
from ckd.teachers.fixed import Fixed
from ckd.teachers.input_keys import input_keys
from ckd.teachers.interpolated import Interpolated
from ckd.teachers.peer import Peer
from ckd.teachers.snapshot import Snapshot
from ckd.teachers.soft_labels import SoftLabels
from ckd.teachers.specialist_data import dustbin_shift, specialist_labels, specialist_weights
from ckd.teachers.specialists import Specialists
from ckd.teachers.teacher import Frozen, Teacher
from ckd.teachers.write_soft_labels import write_soft_labels

__all__ = [
    "Ema",
    "Ensemble",
    "Fixed",
    "Frozen",
    "Interpolated",
    "Peer",
    "Snapshot",
    "SoftLabels",
    "Specialists",
    "Teacher",
    "confusable_classes",
    "dustbin_shift",
    "fingerprint",
    "input_keys",
    "specialist_labels",
    "specialist_weights",
    "write_soft_labels",
]
