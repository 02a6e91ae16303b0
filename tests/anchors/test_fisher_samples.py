"""Fisher samples: labels drawn from the model's predictions, and a model that is left as it was."""

import copy

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import chisquare
from shared import classes_in
from torch import nn

from ckd.anchors import Diagonal, FisherSamples, Kronecker
from ckd.memory import Rows
from ckd.part import Ending

SEEN = classes_in([3, 0], [2])
Z = np.array([[0.5, 9.0, -1.0, 1.5, 30.0], [-2.0, 9.0, 0.0, -0.5, 30.0], [0.0, 9.0, 0.0, 0.0, 30.0]])


class Table(nn.Module):
    """Its logits are the row of a table that its input names."""

    def __init__(self, table):
        super().__init__()
        self.table = nn.Parameter(torch.tensor(table))

    def forward(self, x):
        return self.table[x[:, 0].long()]


class TableByTask(Table):
    """The same, with task labels beside the inputs."""

    def forward(self, x, tasks):
        assert tasks.shape == x.shape[:1]
        return super().forward(x)


def rows_of(raw, tasks=None):
    n = len(raw)
    return Rows(raw, torch.zeros(n).long(), torch.zeros(n).long() if tasks is None else tasks, torch.zeros(n).long())


def ending(model, *batches, classes=SEEN, **given):
    return Ending(model, classes, data=lambda: iter(batches), **given)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("row", range(3))
def test_labels_follow_the_softmax_over_the_classes_seen(row):
    model = Table(Z)
    samples = FisherSamples.of(model, ending(model, rows_of(torch.full((3000, 1), row))), 3000, generator())
    counts = np.bincount(samples.labels.numpy(), minlength=5)
    assert counts[1] == counts[4] == 0
    seen = [0, 2, 3]
    assert chisquare(counts[seen], 3000 * softmax(Z[row][seen])).pvalue > 0.01


def test_each_sample_has_its_own_label_whatever_the_others_are():
    model, kinds = Table(Z), torch.arange(6000)[:, None] % 3
    samples = FisherSamples.of(model, ending(model, rows_of(kinds[:2500]), rows_of(kinds[2500:])), 6000, generator(1))
    for row in range(3):
        counts = np.bincount(samples.labels[samples.inputs[:, 0] == row].numpy(), minlength=5)[[0, 2, 3]]
        assert chisquare(counts, 2000 * softmax(Z[row][[0, 2, 3]])).pvalue > 0.01


def test_each_task_has_its_own_classes():
    seen = classes_in({0: [0, 1]}, {2: [3, 4]}, per_task=True)
    tasks = 2 * (torch.arange(2000) % 2)
    by_task = TableByTask(Z)
    end = ending(by_task, rows_of(torch.ones(2000, 1), tasks), classes=seen)
    samples = FisherSamples.of(by_task, end, 2000, generator())
    assert samples.per_task
    assert samples.classes.tolist() == [[t == 0] * 2 + [False] + [t == 2] * 2 for t in samples.tasks.tolist()]
    for task, classes in ((0, [0, 1]), (2, [3, 4])):
        counts = np.bincount(samples.labels[samples.tasks == task].numpy(), minlength=5)
        assert counts.sum() == counts[classes].sum() == 1000
        assert counts[classes] == pytest.approx(1000 * softmax(Z[1][classes]), abs=5)  # nearly certain predictions


def test_a_class_that_cannot_be_is_not_drawn_even_at_the_edge_of_the_unit_interval(monkeypatch):
    model = Table([[-np.inf, 0.0, -np.inf, 0.0, -np.inf]])
    end = ending(model, rows_of(torch.zeros(4, 1)), classes=classes_in(range(5)))
    drawn = torch.tensor([[0.0], [np.nextafter(0.5, 0.0)], [0.5], [np.nextafter(1.0, 0.0)]], dtype=torch.float64)
    rand = torch.rand
    monkeypatch.setattr(torch, "rand", lambda *shape, **given: drawn if shape == (4, 1) else rand(*shape, **given))
    assert FisherSamples.of(model, end, 4, generator()).labels.tolist() == [1, 1, 3, 3]


@pytest.mark.parametrize(("samples", "n", "size"), [(5, 23, 5), (23, 23, 23), (1000, 23, 23), (1, 1, 1)])
def test_as_many_samples_as_there_are_at_most(samples, n, size):
    model, raw = nn.Linear(1, 5), torch.arange(n).float()[:, None]
    end = ending(model, rows_of(raw[:9]), rows_of(raw[9:]), prepare=lambda x: 10 * x)
    samples = FisherSamples.of(model, end, samples, generator())
    assert len(samples) == len(samples.inputs) == len(samples.tasks) == size
    chosen = (samples.inputs[:, 0] / 10).tolist()
    assert len(set(chosen)) == size
    assert set(chosen) <= set(range(n))


def test_every_sample_is_equally_likely_to_be_chosen():
    model, raw = nn.Linear(1, 5), torch.arange(12).float()[:, None]
    g, counts = generator(), np.zeros(12)
    for _ in range(600):
        counts[FisherSamples.of(model, ending(model, rows_of(raw[:5]), rows_of(raw[5:])), 1, g).inputs[0].int()] += 1
    assert chisquare(counts).pvalue > 0.01


def test_without_data_there_are_none():
    model = nn.Linear(1, 5)
    assert FisherSamples.of(model, ending(model), 10, generator()) is None
    assert FisherSamples.of(model, ending(model, rows_of(torch.zeros(0, 1))), 10, generator()) is None


def noisy():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 5))


@pytest.mark.parametrize("curvature", [Diagonal, Kronecker])
def test_the_model_that_is_given_is_untouched(curvature):
    model = noisy().train()
    model[3].eval()
    model[0].requires_grad_(False)
    model[4].bias.grad = torch.ones(5)
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    state = torch.random.get_rng_state()
    samples = FisherSamples.of(
        model, ending(model, rows_of(torch.randn(30, 4, generator=generator()))), 20, generator()
    )
    curvature().add(samples, 1.0)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert modes == [m.training for m in model.modules()]
    assert [p.requires_grad for p in model.parameters()] == [False] * 2 + [True] * 4
    assert [p.grad is not None for p in model.parameters()] == [False] * 5 + [True]
    assert model[4].bias.grad.tolist() == [1.0] * 5
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_copy_is_in_eval_mode_has_every_gradient_and_is_its_own():
    model = noisy().train().requires_grad_(False)  # a teacher's; the student's are trained
    samples = FisherSamples.of(model, ending(noisy(), rows_of(torch.randn(30, 4))), 20, generator())
    assert not any(m.training for m in samples.model.modules())
    assert all(p.requires_grad for p in samples.model.parameters())
    mine, its = ({p.data_ptr() for p in m.parameters()} for m in (model, samples.model))
    assert not mine & its


def test_the_same_generator_gives_the_same_samples_and_labels():
    model = noisy()
    end = ending(model, rows_of(torch.randn(30, 4)))
    one, same, other = (FisherSamples.of(model, end, 20, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(one.inputs, same.inputs)
    assert torch.equal(one.labels, same.labels)
    assert not torch.equal(one.inputs, other.inputs)


@pytest.mark.parametrize("classes", [None, (5,), (23, 5)])
def test_losses_are_those_of_each_sample_in_pieces_too(classes, samples_of, loss_of):
    x, labels = torch.randn(23, 4), torch.arange(23) % 5
    mask = None if classes is None else torch.rand(classes, generator=generator()) < 0.5
    if mask is not None and mask.dim() == 2:
        mask[torch.arange(23), labels] = True
    elif mask is not None:
        mask, labels = torch.tensor([True, False, True, True, False]), labels % 2 * 2
    samples = samples_of(noisy(), x, labels, classes=mask)
    wanted = torch.stack([loss_of(samples, i) for i in range(23)])
    assert torch.allclose(samples.losses(), wanted, rtol=1e-5)
    pieces = list(samples.batches(10))
    assert [len(piece) for piece in pieces] == [10, 10, 3]
    assert torch.allclose(torch.cat([piece.losses() for piece in pieces]), wanted, rtol=1e-5)


@pytest.mark.parametrize("curvature", [Kronecker(), Diagonal()])
def test_what_is_frozen_in_the_student_is_not_measured(curvature):
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 5))
    model[2].requires_grad_(False)
    end = ending(model, rows_of(torch.randn(30, 4)))
    curvature.add(FisherSamples.of(copy.deepcopy(model), end, 20, generator()), 1.0)
    moved = {name: torch.ones_like(value) for name, value in model.named_parameters()}
    assert set(curvature.correction(moved, 1.0)) == {"0.weight", "0.bias", "4.weight", "4.bias"}
