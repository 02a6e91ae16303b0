"""Whose outputs are targets: the learner's past and average selves, given networks, ensembles. Frozen, in eval mode."""

from ckd.teachers.ema import Ema
from ckd.teachers.ensemble import Ensemble
from ckd.teachers.fixed import Fixed
from ckd.teachers.snapshot import Snapshot
from ckd.teachers.teacher import Frozen, Teacher

__all__ = ["Ema", "Ensemble", "Fixed", "Frozen", "Snapshot", "Teacher"]
