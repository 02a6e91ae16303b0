"""Runs an objective beside any training loop: which forward passes a step needs, its loss, and what follows it."""

from ckd.engine.engine import Engine, StepLoss

__all__ = ["Engine", "StepLoss"]
