"""What keeps the weights near a teacher's: the curvature that says how stiffly, and the pull itself."""

from ckd.anchors.anchor import Anchor
from ckd.anchors.curvature import Curvature
from ckd.anchors.diagonal import Diagonal
from ckd.anchors.fisher_samples import FisherSamples
from ckd.anchors.kronecker import Kronecker
from ckd.anchors.step_limit import StepLimit

__all__ = ["Anchor", "Curvature", "Diagonal", "FisherSamples", "Kronecker", "StepLimit"]
