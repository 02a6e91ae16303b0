"""The accuracy matrix, what follows from it, and how it looks."""

from ckd.evaluation.accuracy_matrix import AccuracyMatrix
from ckd.evaluation.plot import plot_forgetting

__all__ = ["AccuracyMatrix", "plot_forgetting"]
