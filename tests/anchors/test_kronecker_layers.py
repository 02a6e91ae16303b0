"""Which layers have Kronecker factors, and what becomes of the rest."""

import numpy as np
import pytest
import torch
from models import MultiHead, adapt
from torch import nn

from ckd.anchors import Kronecker, kronecker
from ckd.plugins.mixed_precision import equip


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def displacement_of(model, seed=1):
    return {name: random(*p.shape, seed=seed + i) for i, (name, p) in enumerate(model.named_parameters())}


def only(delta, *names):
    """The displacement in these weights alone."""
    return {name: value * (name in names) for name, value in delta.items()}


def measured(samples, decay=1.0, curvature=None):
    curvature = curvature or Kronecker(dtype=torch.float64)
    curvature.add(samples, decay)
    return curvature


def test_what_is_no_plain_layer_has_a_diagonal(samples_of, squares):
    torch.manual_seed(0)
    odd = [
        nn.Conv2d(4, 4, 3, groups=2, padding=1),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
    ]
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), *odd, nn.Flatten(), nn.Linear(36, 3)).double()
    model[1].running_var.uniform_(0.5, 2)
    samples = samples_of(model, random(6, 2, 5, 5), [0, 1, 2, 0, 1, 2])
    fisher, delta, curvature = squares(samples), displacement_of(model), measured(samples)
    off = curvature.correction(delta, 3.0)
    assert off.keys() == delta.keys()
    rest = [name for name in delta if name[0] in "1234"]
    assert len(rest) == 8
    for name in rest:
        wanted = delta[name].numpy() * (1 - 1 / (1 + 3 * fisher[name]))
        np.testing.assert_allclose(off[name].detach().numpy(), wanted, rtol=1e-8, atol=1e-14)
    penalty = sum((fisher[name] * delta[name].numpy() ** 2).sum() / 2 for name in rest)
    assert curvature.penalty(only(delta, *rest)).item() == pytest.approx(penalty, rel=1e-9)


def two_heads():
    """A head for each of the tasks 0 and 1."""
    model = MultiHead(nn.Sequential(nn.Linear(4, 5), nn.Tanh()), 5, 3, masking=False)
    for task in (0, 1):
        adapt(model.classifier, [0, 1, 2], task)
    return model.double()


def heads(samples_of, tasks):
    torch.manual_seed(0)
    x, labels = random(len(tasks), 4), torch.arange(len(tasks)) % 3
    return samples_of(two_heads(), x, labels, tasks, None, per_task=True)


def head(task):
    return f"classifier.classifiers.{task}.classifier.weight"


@pytest.mark.parametrize("task", [0, 1])
def test_only_the_head_that_was_used_is_held(float64, task, samples_of):
    """For one sample F is the outer product of its gradient."""
    samples = heads(samples_of, [task])
    curvature, delta = measured(samples), displacement_of(samples.model)
    assert curvature.penalty(only(delta, head(1 - task))) == 0
    weight = samples.model.get_parameter(head(task))
    slope = (torch.autograd.grad(samples.losses().sum(), weight)[0] * delta[head(task)]).sum().item()
    assert curvature.penalty(only(delta, head(task))).item() == pytest.approx(slope**2 / 2, rel=1e-9)


def test_a_head_that_was_not_used_is_decayed_too(float64, samples_of):
    curvature, delta = measured(heads(samples_of, [0] * 4)), displacement_of(two_heads())
    before = curvature.penalty(only(delta, head(0))).item()
    measured(heads(samples_of, [1] * 4), 0.25, curvature)
    assert curvature.penalty(only(delta, head(0))).item() == pytest.approx(before / 4)


def test_several_tasks_in_one_experience_are_the_same_in_pieces(float64, samples_of, monkeypatch):
    samples, penalties = heads(samples_of, [0] * 4 + [1] * 4), []
    for chunk in (4, 8):
        monkeypatch.setattr(kronecker, "CHUNK", chunk)
        penalties.append(measured(samples).penalty(displacement_of(samples.model)).item())
    assert penalties[0] == pytest.approx(penalties[1], rel=1e-9)


def test_a_head_that_some_samples_used_is_held_by_their_share(float64, samples_of):
    """One of the two: half the outer product of its gradient."""
    samples = heads(samples_of, [0, 1])
    curvature, delta = measured(samples), displacement_of(samples.model)
    weight = samples.model.get_parameter(head(0))
    slope = (torch.autograd.grad(samples.losses()[0], weight)[0] * delta[head(0)]).sum().item()
    assert curvature.penalty(only(delta, head(0))).item() == pytest.approx(slope**2 / 4, rel=1e-9)


class Spare(nn.Module):
    """A layer of it is never used."""

    def __init__(self):
        super().__init__()
        self.spare, self.head = nn.Linear(4, 7), nn.Linear(4, 4)

    def forward(self, x):
        return self.head(x)


def test_a_layer_that_is_never_used_is_not_held(samples_of):
    model = Spare().double()
    delta = displacement_of(model)
    curvature = measured(samples_of(model, random(5, 4), [0, 1, 2, 3, 0]))
    assert len(delta) == 4
    moved = {name for name, off in curvature.correction(delta, 1.0).items() if off.any()}
    assert moved == {"head.weight", "head.bias"}


def test_in_mixed_precision_the_factors_are_those_of_full_precision_almost(samples_of):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    delta = {name: value.float() for name, value in displacement_of(model).items()}
    samples = samples_of(model, random(60, 8).float(), torch.arange(60) % 4)
    full = measured(samples, curvature=Kronecker(dtype=torch.float32))
    equip(model)
    mixed = measured(samples, curvature=Kronecker(dtype=torch.float32))
    for name, wanted in full.correction(delta, 1.0).items():
        found = mixed.correction(delta, 1.0)[name]
        assert found.dtype == torch.float32
        assert (found - wanted).norm() < 0.02 * wanted.norm()


def test_inputs_that_are_always_zero_are_free_and_do_no_harm(samples_of):
    """As the pixels at the border of MNIST; the bias is not among them."""
    torch.manual_seed(0)
    model, x = nn.Linear(300, 4), random(40, 300).float()
    x[:, 20:] = 0
    curvature = measured(samples_of(model, x, torch.arange(40) % 4), curvature=Kronecker(dtype=torch.float32))
    off = curvature.correction({"weight": torch.ones(4, 300), "bias": torch.arange(4.0)}, 100.0)
    assert off["weight"][:, 20:].abs().max() < 1e-5
    assert off["weight"].isfinite().all()
    assert off["bias"].abs().max() > 0.1
