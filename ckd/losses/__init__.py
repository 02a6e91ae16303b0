"""What it means to agree: pure functions of tensors, per sample first, the batch mean last."""

from ckd.losses._masking import check_temperature
from ckd.losses.binary_cross_entropy import binary_cross_entropy, binary_cross_entropy_per_sample
from ckd.losses.cross_entropy import cross_entropy, cross_entropy_per_sample
from ckd.losses.feature_distance import feature_distance, feature_distance_per_sample
from ckd.losses.kd import kd, kd_per_sample, soft_cross_entropy, soft_cross_entropy_per_sample
from ckd.losses.logit_adjusted import (
    check_strength,
    logit_adjusted_cross_entropy,
    logit_adjusted_cross_entropy_per_sample,
)
from ckd.losses.logit_mse import logit_mse, logit_mse_per_sample
from ckd.losses.priority import priority_per_sample
from ckd.losses.probability_distance import probability_distance, probability_distance_per_sample

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_per_sample",
    "check_strength",
    "check_temperature",
    "cross_entropy",
    "cross_entropy_per_sample",
    "feature_distance",
    "feature_distance_per_sample",
    "kd",
    "kd_per_sample",
    "logit_adjusted_cross_entropy",
    "logit_adjusted_cross_entropy_per_sample",
    "logit_mse",
    "logit_mse_per_sample",
    "priority_per_sample",
    "probability_distance",
    "probability_distance_per_sample",
    "soft_cross_entropy",
    "soft_cross_entropy_per_sample",
]
