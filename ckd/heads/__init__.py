"""Corrected heads: rescaled logits, aligned weights, nearest class means, a discriminant beside the head."""

from ckd.heads.bias_correction import BiasCorrection
from ckd.heads.linear_discriminant import LinearDiscriminant
from ckd.heads.nearest_mean import NearestMean
from ckd.heads.weight_aligning import WeightAligning

__all__ = ["BiasCorrection", "LinearDiscriminant", "NearestMean", "WeightAligning"]
