"""Who is asked: the learner's past and average selves, in eval mode, without gradients."""

from ckd.teachers.ema import Ema
from ckd.teachers.snapshot import Snapshot
from ckd.teachers.teacher import Frozen, Teacher

__all__ = ["Ema", "Frozen", "Snapshot", "Teacher"]
