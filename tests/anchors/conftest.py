"""What the tests of anchors share: Fisher samples with labels of one's own, and the loop that checks them."""

import numpy as np
import pytest
import torch

from ckd.anchors import FisherSamples
from ckd.outputs import call


@pytest.fixture
def samples_of():
    """samples_of(model, x, labels, ...) -> FisherSamples with these labels."""

    def make(model, x, labels, tasks=None, classes=None, per_task=False):
        labels = torch.as_tensor(labels)
        tasks = torch.zeros(len(x), dtype=torch.int64) if tasks is None else torch.as_tensor(tasks)
        return FisherSamples(model.eval(), x, tasks, labels, classes, per_task)

    return make


@pytest.fixture
def loss_of():
    """loss_of(samples, i) -> the loss of one sample, from its formula: a list of classes, no mask."""

    def act(samples, i):
        tasks = samples.tasks[i : i + 1] if samples.per_task else None
        logits = call(samples.model, samples.inputs[i : i + 1], tasks)[0]
        classes = samples.classes if samples.classes is None or samples.classes.dim() == 1 else samples.classes[i]
        among = range(len(logits)) if classes is None else [c for c in range(len(logits)) if classes[c]]
        return torch.logsumexp(torch.stack([logits[c] for c in among]), 0) - logits[int(samples.labels[i])]

    return act


@pytest.fixture
def squares(loss_of):
    """squares(samples) -> E[gradient²] by parameter name, as numpy, one backward pass for each sample."""

    def act(samples):
        names, weights = zip(*samples.model.named_parameters(), strict=True)
        total = {name: np.zeros(w.shape) for name, w in zip(names, weights, strict=True)}
        for i in range(len(samples)):
            gradients = torch.autograd.grad(loss_of(samples, i), weights, allow_unused=True)
            for name, g in zip(names, gradients, strict=True):
                total[name] += 0 if g is None else g.double().numpy() ** 2
        return {name: value / len(samples) for name, value in total.items()}

    return act


class Isotropic:
    """F = 1 for every weight, whatever it is measured on; notes how it is called."""

    def __init__(self):
        self.measured, self.strengths = [], []

    def add(self, samples, decay):
        self.measured.append((samples, decay))

    def penalty(self, displacement):
        return sum(d.square().sum() for d in displacement.values()) / 2

    def correction(self, displacement, strength):
        self.strengths.append(strength)
        return {name: d * strength / (1 + strength) for name, d in displacement.items()}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

    def nbytes(self):
        return 17 * bool(self.measured)


@pytest.fixture
def isotropic():
    return Isotropic()


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)  # Avalanche's multi-head models compute in the default type
    yield torch.float64
    torch.set_default_dtype(torch.float32)
