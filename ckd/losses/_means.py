"""Batch means that torch computes as one operator, which is several microseconds cheaper than the mean of losses."""

from __future__ import annotations

from ckd.losses.cross_entropy import cross_entropy, cross_entropy_per_sample
from ckd.losses.logit_mse import logit_mse, logit_mse_per_sample

BATCH_MEANS = {cross_entropy_per_sample: cross_entropy, logit_mse_per_sample: logit_mse}
"""The mean over all samples and classes, by the loss per sample."""
