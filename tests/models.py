"""Small models with Avalanche's heads. A module of their own, so that whatever holds one can be pickled."""

from avalanche.models import IncrementalClassifier, MultiHeadClassifier, MultiTaskModule
from torch import nn


def hidden() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU())


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
