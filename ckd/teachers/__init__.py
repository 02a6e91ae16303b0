"""Who is asked: frozen copies of the learner, in eval mode, without gradients."""

from ckd.teachers.snapshot import Snapshot

__all__ = ["Snapshot"]
