"""What the tests of anchors share: exams with labels of one's own, and the loop over samples that checks them."""

import numpy as np
import pytest
import torch

from ckd.anchors import Exam
from ckd.part import plainly


@pytest.fixture
def exam_of():
    """exam_of(model, x, labels, ...) -> an Exam with these labels."""

    def make(model, x, labels, tasks=None, classes=None, ask=plainly, per_task=False):
        labels = torch.as_tensor(labels)
        tasks = torch.zeros(len(x), dtype=torch.int64) if tasks is None else torch.as_tensor(tasks)
        return Exam(model.eval(), ask, x, tasks, labels, classes, per_task)

    return make


@pytest.fixture
def loss_of():
    """loss_of(exam, i) -> the loss of one sample, from its formula: a list of classes, no mask."""

    def act(exam, i):
        logits = exam.ask(exam.model, exam.inputs[i : i + 1], exam.tasks[i : i + 1])[0]
        classes = exam.classes if exam.classes is None or exam.classes.dim() == 1 else exam.classes[i]
        among = range(len(logits)) if classes is None else [c for c in range(len(logits)) if classes[c]]
        return torch.logsumexp(torch.stack([logits[c] for c in among]), 0) - logits[int(exam.labels[i])]

    return act


@pytest.fixture
def squares(loss_of):
    """squares(exam) -> E[gradient²] by parameter name, as numpy, one backward pass for each sample."""

    def act(exam):
        names, weights = zip(*exam.model.named_parameters(), strict=True)
        total = {name: np.zeros(w.shape) for name, w in zip(names, weights, strict=True)}
        for i in range(len(exam)):
            gradients = torch.autograd.grad(loss_of(exam, i), weights, allow_unused=True)
            for name, g in zip(names, gradients, strict=True):
                total[name] += 0 if g is None else g.double().numpy() ** 2
        return {name: value / len(exam) for name, value in total.items()}

    return act


class Isotropic:
    """F = 1 for every weight, whatever it is measured on; notes what it is asked."""

    def __init__(self):
        self.exams, self.strengths = [], []

    def add(self, exam, decay):
        self.exams.append((exam, decay))

    def penalty(self, displacement):
        return sum(d.square().sum() for d in displacement.values()) / 2

    def taken_off(self, displacement, strength):
        self.strengths.append(strength)
        return {name: d * strength / (1 + strength) for name, d in displacement.items()}

    def nbytes(self):
        return 17 * bool(self.exams)


@pytest.fixture
def isotropic():
    return Isotropic()


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)  # Avalanche's multi-head models answer in the default type
    yield torch.float64
    torch.set_default_dtype(torch.float32)
