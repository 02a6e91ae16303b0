"""Losses: pure functions of tensors that return one value per sample. The mean over the batch is the term's."""

from ckd.losses._binary_cross_entropy import binary_cross_entropy
from ckd.losses._cross_entropy import cross_entropy
from ckd.losses._feature_distance import feature_distance
from ckd.losses._kd import kd, soft_cross_entropy
from ckd.losses._logit_adjusted import check_strength, logit_adjusted_cross_entropy
from ckd.losses._logit_mse import logit_mse
from ckd.losses._masking import check_temperature
from ckd.losses._priority import priority
from ckd.losses._probability_distance import probability_distance

__all__ = [
    "binary_cross_entropy",
    "check_strength",
    "check_temperature",
    "cross_entropy",
    "feature_distance",
    "kd",
    "logit_adjusted_cross_entropy",
    "logit_mse",
    "priority",
    "probability_distance",
    "soft_cross_entropy",
]
