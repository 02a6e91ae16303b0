"""Corrected heads: rescaled logits, aligned weights, nearest class means."""

from ckd.heads.bias_correction import BiasCorrection
from ckd.heads.nearest_mean import NearestMean
from ckd.heads.weight_aligning import WeightAligning

__all__ = ["BiasCorrection", "NearestMean", "WeightAligning"]
