"""What is answered at evaluation in the student's place: corrected logits, nearest class means."""

from ckd.answers.answer import Answer
from ckd.answers.bias_correction import BiasCorrection
from ckd.answers.nearest_mean import NearestMean
from ckd.answers.weight_aligning import WeightAligning

__all__ = ["Answer", "BiasCorrection", "NearestMean", "WeightAligning"]
