"""Models with Avalanche's heads."""

import pytest
import torch
from avalanche.models import IncrementalClassifier, MultiHeadClassifier, MultiTaskModule
from torch import nn


class Growing(nn.Module):
    """A head that grows with the classes; masked units answer -1000."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(6, 16), nn.ReLU())
        self.classifier = IncrementalClassifier(16, 2)

    def forward(self, x):
        return self.classifier(self.features(x))


class MultiHead(MultiTaskModule):
    """A head for each task."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(6, 16), nn.ReLU())
        self.classifier = MultiHeadClassifier(16, 2)

    def forward(self, x, task_labels):
        return self.classifier(self.features(x), task_labels)


@pytest.fixture
def growing():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Growing()


@pytest.fixture
def multi_head():
    return MultiHead()


@pytest.fixture
def refused(blobs, benchmark_of, naive, multi_head):
    """refused(objective) trains a multi-head model; returns the error, and how many batches were served."""

    class Steps:
        def __init__(self):
            self.taken = 0

        def before_training_iteration(self, strategy, **kwargs):
            self.taken += 1

    def run(objective):
        from ckd import SelfDistillation
        from ckd.errors import ModelError

        steps = Steps()
        with pytest.raises(ModelError) as caught:
            naive(multi_head, [steps, SelfDistillation(objective)]).train(benchmark_of(blobs(), "index").train_stream)
        return str(caught.value), steps.taken

    return run
