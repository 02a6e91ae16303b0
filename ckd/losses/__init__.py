"""Loss functions that return one value for each sample of the batch.

They are pure functions of tensors, but for `LogitAdjusted`, which counts classes from batch to batch.

The logits of the student come first, what they are compared with second. `classes` restricts a loss to some of the
classes. Nothing is averaged over the batch here: a `ckd.objective.Term` takes the mean.
"""

from ckd.losses._attention import attention
from ckd.losses._binary_cross_entropy import binary_cross_entropy
from ckd.losses._cosine_distance import cosine_distance
from ckd.losses._cross_entropy import cross_entropy
from ckd.losses._dist import dist
from ckd.losses._dkd import dkd
from ckd.losses._feature_distance import feature_distance
from ckd.losses._feature_mse import feature_mse
from ckd.losses._hinge import hinge
from ckd.losses._kd import kd, soft_cross_entropy
from ckd.losses._labelled import takes_inputs, takes_labels
from ckd.losses._logit_adjusted import LogitAdjusted, check_strength, logit_adjusted_cross_entropy
from ckd.losses._logit_mse import logit_mse
from ckd.losses._masking import check_temperature
from ckd.losses._priority import priority
from ckd.losses._probability_distance import probability_distance
from ckd.losses._probability_mse import probability_mse
from ckd.losses._relational import Relational, relational_angle, relational_distance
from ckd.losses._review import hierarchical_context
from ckd.losses._similarity import similarity
from ckd.losses._standardised import Standardised, standardised
from ckd.losses._symmetric_kl import symmetric_kl
from ckd.losses._tokens import attention_score_mse, token_mse

__all__ = [
    "LogitAdjusted",
    "Relational",
    "Standardised",
    "attention",
    "attention_score_mse",
    "binary_cross_entropy",
    "check_strength",
    "check_temperature",
    "cosine_distance",
    "cross_entropy",
    "dist",
    "dkd",
    "feature_distance",
    "feature_mse",
    "hierarchical_context",
    "hinge",
    "kd",
    "logit_adjusted_cross_entropy",
    "logit_mse",
    "priority",
    "probability_distance",
    "probability_mse",
    "relational_angle",
    "relational_distance",
    "similarity",
    "soft_cross_entropy",
    "standardised",
    "symmetric_kl",
    "takes_inputs",
    "takes_labels",
    "token_mse",
]
