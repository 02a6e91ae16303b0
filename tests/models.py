"""Small models with Avalanche's heads. A module of their own, so that whatever holds one can be pickled."""

from types import SimpleNamespace

from avalanche.models import IncrementalClassifier, MultiHeadClassifier, MultiTaskModule
from torch import nn


def hidden() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU())


def adapt(head: nn.Module, classes: list[int], task: int = 0) -> None:
    """Let one of Avalanche's heads see an experience."""
    head.train().adaptation(SimpleNamespace(classes_in_this_experience=classes, task_labels=[task]))


class Growing(nn.Module):
    """A head that grows with the classes; masked, its inactive units give -1000."""

    def __init__(self, features: nn.Module | None = None, width: int = 16, *, masking: bool = True):
        super().__init__()
        self.features = features or hidden()
        self.classifier = IncrementalClassifier(width, 2, masking=masking)

    def forward(self, x):
        return self.classifier(self.features(x))


class MultiHead(MultiTaskModule):
    """A head for each task, `units` wide to begin with."""

    def __init__(self, features: nn.Module | None = None, width: int = 16, units: int = 2, *, masking: bool = True):
        super().__init__()
        self.features = features or hidden()
        self.classifier = MultiHeadClassifier(width, units, masking=masking)

    def forward(self, x, task_labels):
        return self.classifier(self.features(x), task_labels)
