"""The accuracy matrix, what follows from it, and how it looks."""

from ckd.evaluation.accuracy_matrix import AccuracyMatrix
from ckd.evaluation.paired import paired_test
from ckd.evaluation.plot import plot_forgetting
from ckd.evaluation.predictions import Predictions
from ckd.evaluation.within import Within, accuracies

__all__ = ["AccuracyMatrix", "Predictions", "Within", "accuracies", "paired_test", "plot_forgetting"]
