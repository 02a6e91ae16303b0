"""Whose outputs are targets: the learner's past and average selves, given networks, ensembles, specialists, peers.

All but `Peer` are frozen and in eval mode.
"""

from ckd.teachers.confusable_classes import confusable_classes
from ckd.teachers.ema import Ema
from ckd.teachers.ensemble import Ensemble
from ckd.teachers.fixed import Fixed
from ckd.teachers.peer import Peer
from ckd.teachers.snapshot import Snapshot
from ckd.teachers.specialist_data import dustbin_shift, specialist_labels, specialist_weights
from ckd.teachers.specialists import Specialists
from ckd.teachers.teacher import Frozen, Teacher

__all__ = [
    "Ema",
    "Ensemble",
    "Fixed",
    "Frozen",
    "Peer",
    "Snapshot",
    "Specialists",
    "Teacher",
    "confusable_classes",
    "dustbin_shift",
    "specialist_labels",
    "specialist_weights",
]
