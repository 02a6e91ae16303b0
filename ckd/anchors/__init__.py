"""What keeps the weights near an old self: how stiffly, along which directions, and the pull itself."""

from ckd.anchors.anchor import Anchor
from ckd.anchors.curvature import Curvature
from ckd.anchors.diagonal import Diagonal
from ckd.anchors.exam import Exam
from ckd.anchors.kronecker import Kronecker

__all__ = ["Anchor", "Curvature", "Diagonal", "Exam", "Kronecker"]
