"""bfloat16 by hooks on the model: in its copies too, and nowhere else."""

import copy
import pickle

import pytest
import torch
from avalanche.models import MultiHeadClassifier, MultiTaskModule

from ckd import SelfDistillation, recipes
from ckd.errors import ModelError
from ckd.plugins import MixedPrecision
from ckd.plugins.mixed_precision import equip, release


def dtypes(model, x):
    """What the first layer gives, and what comes out."""
    seen = []
    handle = model[0].register_forward_hook(lambda module, taken, given: seen.append(given.dtype))
    out = model(x)
    handle.remove()
    return seen[0], out.dtype


def test_the_layers_compute_in_bfloat16_and_the_answers_are_float32(network):
    model, x = network(), torch.randn(5, 6)
    plain = model(x)
    equip(model)
    assert dtypes(model, x) == (torch.bfloat16, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        wanted = network()(x)
    torch.testing.assert_close(model(x), wanted.float(), rtol=0, atol=0)
    assert not torch.equal(model(x), plain)
    assert not torch.is_autocast_enabled("cpu")


def test_copies_compute_alike(network):
    model, x = network(), torch.randn(5, 6)
    equip(model)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(x), model(x))
        assert dtypes(twin, x)[0] == torch.bfloat16


def test_a_forward_pass_that_fails_leaves_no_context_open(network):
    model = network()
    equip(model)
    with pytest.raises(RuntimeError):
        model(torch.randn(5, 7))
    assert not torch.is_autocast_enabled("cpu")
    assert model(torch.randn(5, 6)).dtype == torch.float32


class Interrupting(torch.nn.Module):
    def forward(self, x):
        raise KeyboardInterrupt


def test_an_interrupt_leaves_no_context_open():
    model = torch.nn.Sequential(Interrupting())
    equip(model)
    with pytest.raises(KeyboardInterrupt):
        model(torch.randn(5, 6))
    assert not torch.is_autocast_enabled("cpu")


def test_a_released_model_is_what_it_was(network):
    model, x = network(), torch.randn(5, 6)
    plain = model(x)
    equip(model)
    release(model)
    assert type(model) is torch.nn.Sequential
    assert torch.equal(model(x), plain)


def test_a_model_of_another_precision_is_refused(network):
    with pytest.raises(ModelError, match="float32 parameters"):
        equip(network().double())


def test_it_can_be_compiled(network):
    model, x = network(), torch.randn(5, 6)
    equip(model)
    wanted = model(x)
    model.compile(backend="eager", fullgraph=True)
    assert torch.equal(model(x), wanted)
    assert not torch.is_autocast_enabled("cpu")


class MultiHead(MultiTaskModule):
    def __init__(self):
        super().__init__()
        self.features = torch.nn.Linear(6, 8)
        self.classifier = MultiHeadClassifier(8, 2)

    def forward(self, x, task_labels):
        return self.classifier(self.features(x).relu(), task_labels)


@pytest.mark.parametrize("recipe", ["lwf", "der++"])
def test_multi_head_models_train_in_it(recipe, blobs, benchmark_of, naive, train):
    plugin = SelfDistillation(recipes.get(recipe).build())
    strategy = naive(MultiHead(), [plugin, MixedPrecision()])
    train(strategy, benchmark_of(blobs(), "index"), evaluate=True)
    assert all(p.isfinite().all() for p in strategy.model.parameters())
    assert pickle.loads(pickle.dumps(plugin)).objective.experience == 3


def test_a_model_is_equipped_once(network):
    model = network()
    equip(model)
    equip(torch.nn.Sequential(model))
    equip(model)
    assert type(model).__mro__.count(torch.nn.Sequential) == 1
    assert len([kind for kind in type(model).__mro__ if kind.__name__ == "_Autocast"]) == 1


@pytest.mark.parametrize("recipe", ["naive", "lwf", "der++", "cls-er", "bfp", "icarl", "bic"])
def test_recipes_train_in_it_near_float32(recipe, blobs, benchmark_of, network, naive, train):
    def weights(*more):
        torch.manual_seed(0)
        strategy = naive(network(), [SelfDistillation(recipes.get(recipe).build()), *more])
        train(strategy, benchmark_of(blobs()), evaluate=True)
        return torch.cat([p.detach().flatten() for p in strategy.model.parameters()])

    exact, rounded = weights(), weights(MixedPrecision())
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    assert (exact - rounded).norm() < 0.1 * exact.norm()


def test_the_memory_keeps_float32(blobs, benchmark_of, network, naive, train):
    plugin = SelfDistillation(recipes.der(memory_size=20))
    train(naive(network(), [plugin, MixedPrecision()]), benchmark_of(blobs()))
    assert plugin.objective.memory.rows.logits.dtype == torch.float32
