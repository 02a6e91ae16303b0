"""The diagonal against a loop over samples with one backward pass each, and against dense linear algebra."""

import copy

import numpy as np
import pytest
import torch
from avalanche.models import IncrementalClassifier
from models import MultiHead, adapt
from scipy.special import softmax
from torch import nn

from ckd.anchors import Diagonal, diagonal


def multi_head():
    """Heads for the tasks 0 and 2."""
    model = MultiHead(nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(inplace=True)), 6, 4)
    for task in (0, 2):
        adapt(model.classifier, [0, 1, 3], task)
    return model


def mlp():
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Linear(7, 4))


def convnet():
    norm = nn.BatchNorm2d(3)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    first = nn.Sequential(nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False), norm, nn.ReLU())
    return nn.Sequential(first, nn.Conv2d(3, 4, 2, groups=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def built(make, *arguments):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make(*arguments).double().eval()


def displacement_of(model, seed=1):
    return {n: random(*p.shape, seed=seed + i) for i, (n, p) in enumerate(model.named_parameters())}


def flat(parts):
    return np.concatenate([torch.as_tensor(part).detach().numpy().ravel() for part in parts.values()])


def equals(curvature, fisher, displacement, strength=3.0):
    """Penalty and pull of a curvature are those of this diagonal, as a dense matrix; in no other weights."""
    delta = flat({name: displacement[name] for name in fisher})
    dense = np.diag(flat(fisher))
    assert curvature.penalty(displacement).item() == pytest.approx(delta @ dense @ delta / 2, rel=1e-9)
    off = curvature.correction(displacement, strength)
    assert off.keys() == fisher.keys()
    assert all(off[name].shape == displacement[name].shape for name in off)
    wanted = delta - np.linalg.solve(np.eye(len(delta)) + strength * dense, delta)
    np.testing.assert_allclose(flat({name: off[name] for name in fisher}), wanted, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("make", [mlp, convnet])
@pytest.mark.parametrize("classes", [None, "shared", "each"])
@pytest.mark.parametrize("elements", [1, 400, 2**24], ids=["one at a time", "a few", "all at once"])
def test_it_is_the_mean_of_squared_gradients(make, classes, elements, samples_of, squares, monkeypatch):
    monkeypatch.setattr(diagonal, "ELEMENTS", elements)
    model, labels = built(make), [0, 3, 3, 0, 0, 3, 0]
    x = random(7, 5) if make is mlp else random(7, 2, 6, 5)
    each = torch.rand(7, 4, generator=torch.Generator().manual_seed(0)) < 0.5
    each[torch.arange(7), torch.tensor(labels)] = True
    mask = {None: None, "shared": torch.tensor([True, False, True, True]), "each": each}[classes]
    samples, curvature = samples_of(model, x, labels, classes=mask), Diagonal()
    curvature.add(samples, 1.0)
    fisher = squares(samples)
    assert all(value.any() for value in fisher.values())
    equals(curvature, fisher, displacement_of(model))


def test_of_a_linear_layer_it_is_the_closed_form(samples_of):
    """∂ -log p(y) / ∂W = (p - 1_y) xᵀ."""
    model, x, y = built(nn.Linear, 3, 4), random(9, 3), np.arange(9) % 4
    curvature = Diagonal()
    curvature.add(samples_of(model, x, y), 1.0)
    gaps = softmax(x.numpy() @ model.weight.detach().numpy().T + model.bias.detach().numpy(), axis=1) - np.eye(4)[y]
    wanted = {"weight": (gaps**2).T @ x.numpy() ** 2 / 9, "bias": (gaps**2).mean(0)}
    equals(curvature, wanted, displacement_of(model))


def test_a_model_with_a_head_for_each_task(float64, samples_of, squares):
    model, tasks = built(multi_head), [0, 2, 2, 0, 2, 2]
    known = torch.tensor([True, True, False, True]).expand(6, -1)
    samples = samples_of(model, random(6, 5), [0, 1, 3, 3, 0, 1], tasks, known, per_task=True)
    curvature, fisher = Diagonal(), squares(samples)
    curvature.add(samples, 1.0)
    assert all(fisher[f"classifier.classifiers.{task}.classifier.weight"].any() for task in (0, 2))
    assert not fisher["classifier.classifiers.0.classifier.weight"][2].any()  # not among the classes
    equals(curvature, fisher, displacement_of(model))


@pytest.mark.parametrize("decay", [1.0, 0.3, 0.0])
def test_old_matrices_are_decayed_and_a_head_may_grow(decay, samples_of, squares):
    """F = d (d F₁ + F₂) + F₃, the head 2, 3 and then 6 wide; in the end it is 7 wide."""
    model, curvature, wanted = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), IncrementalClassifier(6, 2)), Diagonal(), {}
    for i, classes in enumerate(([0, 1], [1, 2], [3, 5], [6])):
        adapt(model[2], classes)
        model = model.double().eval()
        if i < 3:
            labels = [classes[k % 2] for k in range(8)]
            samples = samples_of(
                copy.deepcopy(model), random(8, 5, seed=i), labels, classes=model[2].active_units.bool()
            )
            fresh = squares(samples)
            for name, old in wanted.items():
                fresh[name] += decay * widened(old, fresh[name].shape)
            curvature.add(samples, decay)
            wanted = fresh
    assert wanted["2.classifier.weight"].shape == (6, 6)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert shapes["2.classifier.weight"] == (7, 6)
    assert curvature.nbytes() == 8 * sum(value.size for value in wanted.values())
    equals(curvature, {name: widened(f, shapes[name]) for name, f in wanted.items()}, displacement_of(model))


def widened(array, shape):
    return np.pad(array, [(0, n - m) for n, m in zip(shape, array.shape, strict=True)])


def test_only_some_weights_are_looked_at_if_it_says_so(samples_of, squares):
    model = built(mlp)
    samples, curvature = samples_of(model, random(4, 5), [0, 1, 2, 3]), Diagonal(["0.bias", "3.weight"])
    curvature.add(samples, 1.0)
    fisher = squares(samples)
    equals(curvature, {name: fisher[name] for name in ("0.bias", "3.weight")}, displacement_of(model))
    assert curvature.nbytes() == 8 * (7 + 4 * 7)


def test_no_graph_is_kept(samples_of):
    model, curvature = built(mlp), Diagonal(["0.bias", "3.weight"])
    curvature.add(samples_of(model, random(4, 5), [0, 1, 2, 3]), 1.0)
    assert not any(off.requires_grad for off in curvature.correction(displacement_of(model), 1.0).values())
    assert not curvature.penalty(displacement_of(model)).requires_grad


def test_of_nothing_it_is_nothing(samples_of):
    model = built(mlp)
    for curvature in (Diagonal(), Diagonal([])):
        if curvature.only is not None:
            curvature.add(samples_of(model, random(4, 5), [0, 1, 2, 3]), 1.0)
        assert curvature.penalty(displacement_of(model)) == 0
        assert curvature.correction(displacement_of(model), 1.0) == {}
        assert curvature.nbytes() == 0


def test_the_pull_never_overshoots_however_strong(samples_of):
    model, curvature = built(mlp), Diagonal()
    curvature.add(samples_of(model, random(4, 5), [0, 1, 2, 3]), 1.0)
    delta = displacement_of(model)
    weak, strong = curvature.correction(delta, 1e-3), curvature.correction(delta, 1e12)
    for name, value in delta.items():
        assert (weak[name].abs() <= strong[name].abs()).all()
        assert (strong[name].abs() <= value.abs()).all()
        assert (strong[name] * value >= 0).all()


class Recurrent(nn.Module):
    """vmap cannot run a GRU."""

    def __init__(self):
        super().__init__()
        self.gru, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 4)

    def forward(self, x):
        return self.head(self.gru(x)[0][:, -1])


def test_what_cannot_be_vectorised_is_computed_one_by_one(samples_of, squares):
    torch.manual_seed(0)
    model = Recurrent().double()
    samples = samples_of(model, torch.randn(5, 6, 3, dtype=torch.float64), [0, 1, 2, 3, 0])
    curvature = Diagonal()
    curvature.add(samples, 1.0)
    equals(curvature, squares(samples), displacement_of(model))
