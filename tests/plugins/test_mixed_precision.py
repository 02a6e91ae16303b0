"""bfloat16 by hooks on the model: in its copies too, and nowhere else."""

import copy
import pickle

import pytest
import torch

from ckd import SelfDistillation, recipes
from ckd.plugins import MixedPrecision
from ckd.plugins.mixed_precision import equip


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


def test_a_model_is_equipped_once(network):
    model = network()
    equip(model)
    equip(torch.nn.Sequential(model))
    equip(model)
    assert len(model._forward_pre_hooks) == 1


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
