"""Features from inside a network, against forward passes written by hand."""

import doctest

import pytest
import torch
from avalanche.models import IncrementalClassifier, SimpleMLP
from torch import nn

import ckd.taps
from ckd.bench.networks import network as bench_network
from ckd.errors import ModelError, UnknownNameError
from ckd.taps import head_of, head_tapped, tapped


def net():
    """A network with a network in it."""
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(5, 4), nn.Tanh())
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), inner, nn.Linear(4, 2))


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


X = torch.linspace(-2, 2, 18).view(6, 3)


# any module --------------------------------------------------------------------------------------------------------


def test_tapped_is_what_a_forward_pass_by_hand_gives():
    model = net()
    first = X @ model[0].weight.T + model[0].bias
    inner = (first.clamp(min=0) @ model[2][0].weight.T + model[2][0].bias).tanh()
    with tapped(model, ["0", "1", "2", "2.1"]) as found:
        assert found == {}
        logits = model(X)
    assert list(found) == ["0", "1", "2.1", "2"]
    torch.testing.assert_close(found["0"], first)
    torch.testing.assert_close(found["1"], first.clamp(min=0))
    torch.testing.assert_close(found["2"], inner)
    torch.testing.assert_close(found["2.1"], inner)
    torch.testing.assert_close(logits, inner @ model[3].weight.T + model[3].bias)


def test_a_module_that_works_in_place_does_not_change_what_was_tapped():
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(inplace=True), nn.Linear(5, 2))
    with tapped(model, ["0"]) as found:
        model(X)
    torch.testing.assert_close(found["0"], X @ model[0].weight.T + model[0].bias)


def test_each_forward_pass_replaces_what_was_tapped():
    model = net()
    with tapped(model, ["0"]) as found:
        model(X)
        model(X[:2])
    torch.testing.assert_close(found["0"], model[0](X[:2]))


def test_duplicate_paths_and_taps_within_taps():
    model = net()
    with tapped(model, ["1", "1"]) as outer:
        with tapped(model, ["1", "3"]) as inner:
            model(X)
        assert torch.equal(outer["1"], inner["1"])
        assert list(outer) == ["1"]
        model(X[:1])
        assert len(outer["1"]) == 1
        assert len(inner["1"]) == 6
    assert hooks(model) == 0


def test_gradients_flow_through_what_was_tapped():
    """Of a squared norm: d|h|²/dW = 2 hᵀx."""
    model = net()
    with tapped(model, ["0"]) as found:
        model(X)
    found["0"].square().sum().backward()
    torch.testing.assert_close(model[0].weight.grad, 2 * found["0"].detach().T @ X)
    assert model[3].weight.grad is None


@pytest.mark.parametrize("tap", [lambda m: tapped(m, ["0", "2.0", "2"]), head_tapped], ids=["tapped", "head_tapped"])
def test_hooks_are_gone_afterwards_also_after_an_error(tap):
    model = net()
    with tap(model):
        assert hooks(model) > 0
    assert hooks(model) == 0
    with pytest.raises(RuntimeError), tap(model):
        model(torch.zeros(2, 99))
    assert hooks(model) == 0


def test_a_wrong_path_is_answered_with_near_ones_and_leaves_no_hook():
    model = nn.Module()
    model.encoder = nn.Linear(3, 5)
    model.classifier = nn.Linear(5, 2)
    taps = tapped(model, ["classifier", "encodr"])
    with pytest.raises(UnknownNameError, match=r"'encodr'\. Did you mean 'encoder'"), taps:
        pass
    assert hooks(model) == 0


def test_the_examples_in_the_docstrings_run():
    found = doctest.testmod(ckd.taps)
    assert found.attempted > 0
    assert found.failed == 0


# the head ----------------------------------------------------------------------------------------------------------


class Growing(nn.Module):
    """Its head is one of Avalanche's."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(12, 16), nn.ReLU())
        self.classifier = IncrementalClassifier(16, 2, masking=False)

    def forward(self, x):
        return self.classifier(self.features(x.flatten(1)))


HEADED = {
    "mlp": (lambda: bench_network("mlp", (12,), 3), (12,), lambda m, x: m[:-1](x)),
    "convnet": (lambda: bench_network("convnet", (1, 8, 8), 3), (1, 8, 8), lambda m, x: m[:-1](x)),
    "SimpleMLP": (lambda: SimpleMLP(3, 12, hidden_size=16, hidden_layers=2), (12,), lambda m, x: m.get_features(x)),
    "growing": (Growing, (3, 4), lambda m, x: m.features(x.flatten(1))),
}


@pytest.mark.parametrize("name", HEADED)
def test_the_head_takes_in_what_the_network_before_it_puts_out(name):
    make, shape, features = HEADED[name]
    model = make().eval()
    x = torch.randn(5, *shape)
    with head_tapped(model) as taken:
        logits = model(x)
    torch.testing.assert_close(taken[-1], features(model, x))
    torch.testing.assert_close(logits, taken[-1] @ head_of(model).weight.T + head_of(model).bias)
    assert head_of(model).out_features == logits.shape[1]
    assert hooks(model) == 0


def test_a_head_that_has_grown_is_found():
    model = Growing()
    model.classifier.classifier = nn.Linear(16, 7)
    assert head_of(model) is model.classifier.classifier


def test_only_the_last_pass_is_held():
    model = net()
    with head_tapped(model) as taken:
        model(X)
        model(X[:2])
    assert [len(t) for t in taken] == [2]


def test_a_model_without_a_linear_layer_is_refused():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten())
    with pytest.raises(ModelError, match="head of the model: expected a linear layer"):
        head_of(model)
    with pytest.raises(ModelError), head_tapped(model):
        pass
