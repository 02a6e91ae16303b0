"""bfloat16 in the model's forward pass: in its copies too, and nowhere else."""

import copy
import gc
import pickle
import warnings
import weakref

import pytest
import torch
from avalanche.models import MultiHeadClassifier, MultiTaskModule

from ckd import SelfDistillation, recipes
from ckd.errors import ModelError
from ckd.plugins import MixedPrecision
from ckd.plugins.mixed_precision import SlowPrecision, equip, release


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
        answer = model(x)
        twin[-1].weight.data.zero_()
        assert not torch.equal(twin(x), answer)  # it answers by weights of its own
        assert torch.equal(model(x), answer)


def test_a_copy_goes_when_nothing_holds_it(network):
    model = network()
    equip(model)
    twin = copy.deepcopy(model)
    gone = weakref.ref(twin)
    gc.disable()
    del twin
    gc.enable()
    assert gone() is None


def test_weights_can_be_handed_in(network):
    model, x = network(), torch.randn(5, 6)
    equip(model)
    zeros = {name: torch.zeros_like(value) for name, value in model.named_parameters()}
    assert not torch.func.functional_call(model, zeros, (x,)).any()


class Raising(torch.nn.Module):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, x):
        raise self.error


ERRORS = [RuntimeError, KeyboardInterrupt, SystemExit]


@pytest.mark.parametrize("error", ERRORS)
def test_a_forward_pass_that_ends_early_leaves_no_context_open(error):
    model = torch.nn.Sequential(torch.nn.Linear(6, 4), Raising(error))
    equip(model)
    with pytest.raises(error):
        model(torch.randn(5, 6))
    assert not torch.is_autocast_enabled("cpu")
    assert torch.autocast_increment_nesting() == 1
    torch.autocast_decrement_nesting()


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("prepend", [False, True])
@pytest.mark.parametrize("register", ["register_forward_pre_hook", "register_forward_hook"])
def test_nor_does_a_hook_that_fails(register, prepend, error, network):
    def fail(*_):
        raise error

    model = network()
    equip(model)
    handle = getattr(model, register)(fail, prepend=prepend)
    with pytest.raises(error):
        model(torch.randn(5, 6))
    assert not torch.is_autocast_enabled("cpu")
    handle.remove()
    assert dtypes(model, torch.randn(5, 6)) == (torch.bfloat16, torch.float32)


@pytest.mark.parametrize("prepend", [False, True])
def test_hooks_of_others_are_outside_and_see_float32(prepend, network):
    seen = []

    def look(module, taken, given=None):
        seen.append((torch.is_autocast_enabled("cpu"), None if given is None else given.dtype))

    model = network()
    model.register_forward_hook(look)
    equip(model)
    model.register_forward_pre_hook(look, prepend=prepend)
    model.register_forward_hook(look, prepend=prepend)
    model(torch.randn(5, 6))
    assert seen == [(False, None), (False, torch.float32), (False, torch.float32)]


def test_a_context_around_the_model_is_as_it_was_afterwards(network):
    model = network()
    equip(model)
    with torch.autocast("cpu", torch.float16):
        model(torch.randn(5, 6))
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_autocast_dtype("cpu") == torch.float16


class Recursive(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.seen = torch.nn.Linear(6, 6), []

    def forward(self, x, again=True):
        inner = self(x, again=False) if again else x
        self.seen.append((inner.dtype, self.layer(inner).dtype))
        return self.layer(inner)


def test_a_model_may_call_itself():
    model = Recursive()
    equip(model)
    assert model(torch.randn(5, 6)).dtype == torch.float32
    assert model.seen == [(torch.float32, torch.bfloat16)] * 2
    assert not torch.is_autocast_enabled("cpu")


def test_a_released_model_is_what_it_was(network):
    model, x = network(), torch.randn(5, 6)
    plain = model(x)
    before = dict(vars(model))
    equip(model)
    release(model)
    assert vars(model) == before
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


def test_a_compiled_model_follows(network):
    model, x = network(), torch.randn(5, 6)
    plain = model(x)
    model.compile(backend="eager")
    assert torch.equal(model(x), plain)
    equip(model)
    assert not torch.equal(model(x), plain)
    release(model)
    assert torch.equal(model(x), plain)


class MultiHead(MultiTaskModule):
    def __init__(self):
        super().__init__()
        self.features = torch.nn.Linear(6, 8)
        self.classifier = MultiHeadClassifier(8, 2)

    def forward(self, x, task_labels):
        return self.classifier(self.features(x).relu(), task_labels)


def test_heads_by_task_compute_in_float32():
    model, x, tasks = MultiHead(), torch.randn(5, 6), torch.zeros(5, dtype=torch.int64)
    model.classifier.masking = False
    equip(model)
    for twin in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        features = []
        handle = twin.features.register_forward_hook(lambda _, taken, given, into=features: into.append(given))
        answer = twin(x, tasks)
        handle.remove()
        assert features[0].dtype == torch.bfloat16
        head = twin.classifier.classifiers["0"].classifier
        assert torch.equal(answer, head(features[0].float().relu()))
        assert torch.equal(twin.classifier(features[0].relu(), tasks), answer)
        assert torch.equal(twin.classifier(x=features[0].relu(), task_labels=tasks), answer)
        release(twin)
        assert not any("forward" in vars(module) for module in twin.modules())


def test_a_model_that_is_only_heads_stays_float32():
    model, x, tasks = MultiHeadClassifier(6, 2), torch.randn(5, 6), torch.zeros(5, dtype=torch.int64)
    plain = model(x, tasks)
    for _ in range(2):
        equip(model)
        assert torch.equal(model(x, tasks), plain)


@pytest.mark.parametrize("recipe", ["lwf", "der++"])
def test_multi_head_models_train_in_it(recipe, blobs, benchmark_of, naive, train):
    plugin = SelfDistillation(recipes.get(recipe).build())
    strategy = naive(MultiHead(), [plugin, MixedPrecision()])
    train(strategy, benchmark_of(blobs(), "index"), evaluate=True)
    assert all(p.isfinite().all() for p in strategy.model.parameters())
    assert pickle.loads(pickle.dumps(plugin)).engine.moment.experience == 3


def test_a_model_is_equipped_once(network):
    model, x = network(), torch.randn(5, 6)
    plain, outer = model(x), torch.nn.Sequential(model)
    equip(model)
    mine = model.forward
    equip(outer)
    equip(model)
    assert model.forward is mine
    release(model)
    assert torch.equal(outer(x), plain)


def test_a_forward_that_someone_replaced_is_not_passed_over(network):
    model = network()
    model.forward = torch.nn.Identity().forward
    with pytest.raises(ModelError, match="method of its class"):
        equip(model)


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


@pytest.mark.parametrize("fast", [True, False])
def test_a_device_without_units_for_it_is_told_of_once(fast, monkeypatch, naive, network, blobs, benchmark_of):
    monkeypatch.setattr("ckd.plugins.mixed_precision.multiplies_bfloat16", lambda kind: fast)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", SlowPrecision)
        naive(network(), [MixedPrecision()]).train(benchmark_of(blobs()).train_stream)
    found = [str(one.message) for one in told if one.category is SlowPrecision]
    assert found == ([] if fast else ["this cpu has no units for bfloat16: float32 is faster"])
