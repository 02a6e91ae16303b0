"""Outputs of modules inside a network, against forward passes written by hand; and which layer is the head."""

import doctest

import pytest
import torch
from avalanche.models import SimpleMLP
from models import Growing, MultiHead, adapt
from torch import nn

import ckd.outputs
from ckd.errors import ConfigError, ModelError, UnknownNameError
from ckd.networks import network as bench_network
from ckd.outputs import HEAD, Capture, Output, call, collect, features, find_head, head_at, logits, tap


def net(dtype=torch.float32):
    """A network with a network in it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        inner = nn.Sequential(nn.Linear(5, 4), nn.Tanh())
        return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), inner, nn.Linear(4, 2)).to(dtype)


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def linear(layer, x):
    return x @ layer.weight.T + layer.bias


X = torch.linspace(-2, 2, 18).view(6, 3)


# which output ------------------------------------------------------------------------------------------------------


def test_outputs_are_values():
    assert tap("a") == tap("a")
    assert hash(tap("a", "b")) == hash(tap("a", "b"))
    assert len({tap("a"), tap("b"), tap("a", "b"), tap("b", "a"), tap("a", inputs=True), logits, features}) == 7
    assert [logits.is_logits, features.is_logits, tap("a").is_logits] == [True, False, False]
    assert (logits, features) == (Output(), Output((HEAD,), inputs=True))


@pytest.mark.parametrize("paths", [(), ("",), ("a", ""), (3,), (["a"],)])
def test_a_tap_names_modules(paths):
    with pytest.raises(ConfigError, match="tap: expected one module path or more"):
        tap(*paths)


# any module --------------------------------------------------------------------------------------------------------


def test_a_tap_is_what_a_forward_pass_by_hand_gives():
    model = net()
    first = linear(model[0], X)
    inner = linear(model[2][0], first.clamp(min=0)).tanh()
    with Capture(model, [tap("0"), tap("1"), tap("2"), tap("2.1")]) as found:
        returned = model(X)
    torch.testing.assert_close(found[tap("0")], first)
    torch.testing.assert_close(found[tap("1")], first.clamp(min=0))
    torch.testing.assert_close(found[tap("2")], inner)
    torch.testing.assert_close(found[tap("2.1")], inner)
    torch.testing.assert_close(returned, linear(model[3], inner))


def test_the_input_of_a_module_may_be_given_by_keyword():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(3, 5), nn.Linear(5, 2)

        def forward(self, x):
            return self.head(input=self.body(x).relu())

    model = Net()
    with Capture(model, [features], head=find_head(model, X)) as found:
        model(X)
    torch.testing.assert_close(found[features], linear(model.body, X).clamp(min=0))


def test_a_tap_of_several_modules_is_a_tuple_in_the_order_of_its_paths():
    model = net()
    first = linear(model[0], X)
    inner = linear(model[2][0], first.clamp(min=0)).tanh()
    with Capture(model, [tap("2", "0"), tap("0")]) as found:
        model(X)
    assert type(found[tap("2", "0")]) is tuple
    torch.testing.assert_close(found[tap("2", "0")], (inner, first))
    torch.testing.assert_close(found[tap("0")], first)


def test_the_inputs_of_modules_are_what_the_modules_before_them_put_out():
    model = net()
    wanted = [tap("0", inputs=True), tap("2", "1", inputs=True), tap("2"), tap("2", inputs=True)]
    first = linear(model[0], X)
    with Capture(model, wanted) as found:
        model(X)
    assert torch.equal(found[wanted[0]], X)
    torch.testing.assert_close(found[wanted[1]], (first.clamp(min=0), first))
    torch.testing.assert_close(found[wanted[2]], linear(model[2][0], first.clamp(min=0)).tanh())
    torch.testing.assert_close(found[wanted[3]], first.clamp(min=0))


@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 3)], ids=["rows", "sequences"])
def test_a_module_that_works_in_place_does_not_change_what_was_tapped(shape):
    x = X.reshape(shape)
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(inplace=True), nn.Linear(5, 2))
    wanted = [tap("0"), tap("1", inputs=True), tap("1")]
    with Capture(model, wanted) as found:
        model(x)
    first = linear(model[0], x)
    assert (first < 0).any()
    torch.testing.assert_close(found[wanted[0]], first)
    torch.testing.assert_close(found[wanted[1]], first)
    torch.testing.assert_close(found[wanted[2]], first.clamp(min=0))
    found[wanted[0]].square().sum().backward()
    torch.testing.assert_close(model[0].weight.grad, 2 * first.detach().flatten(0, -2).T @ x.flatten(0, -2))


def test_a_network_that_works_in_place_on_its_inputs_does_not_change_them_in_a_tap():
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2))
    with Capture(model, [tap("0", inputs=True)]) as found:
        model(X.clone())
    assert torch.equal(found[tap("0", inputs=True)], X)


def test_each_forward_pass_replaces_what_was_tapped():
    model = net()
    with Capture(model, [tap("0")]) as found:
        model(X)
        model(X[:2])
    torch.testing.assert_close(found[tap("0")], model[0](X[:2]))


def test_equal_taps_and_captures_within_captures():
    model = net()
    with Capture(model, [tap("1"), tap("1")]) as outer:
        assert hooks(model) == 1
        with Capture(model, [tap("1"), tap("3")]) as inner:
            model(X)
        assert torch.equal(outer[tap("1")], inner[tap("1")])
        model(X[:1])
        assert len(outer[tap("1")]) == 1
        assert len(inner[tap("1")]) == 6
    assert hooks(model) == 0


@pytest.mark.parametrize("inputs", [False, True])
def test_gradients_flow_through_what_was_tapped(inputs):
    """Of a squared norm: d|h|²/dW = 2 hᵀx, in the place of the ReLU's input or of the layer's output."""
    model = net()
    wanted = tap("1", inputs=True) if inputs else tap("0")
    with Capture(model, [wanted]) as found:
        model(X)
    found[wanted].square().sum().backward()
    torch.testing.assert_close(model[0].weight.grad, 2 * found[wanted].detach().T @ X)
    assert model[3].weight.grad is None


def test_gradients_of_the_returned_logits_are_as_without_a_tap():
    model, plain = net(), net()
    with Capture(model, [tap("0"), tap("1"), tap("2", inputs=True)]):
        model(X).square().sum().backward()
    plain(X).square().sum().backward()
    for p, q in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_half_precision_comes_out_as_float32_with_its_graph(dtype):
    model = net(dtype)
    with Capture(model, [tap("0", "2"), tap("3", inputs=True)]) as found:
        model(X.to(dtype))
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    first, inner = found[tap("0", "2")]
    assert first.dtype == inner.dtype == found[tap("3", inputs=True)].dtype == wanted
    assert torch.equal(first, model[0](X.to(dtype)).to(wanted))
    first.sum().backward()
    assert model[0].weight.grad.dtype == dtype


def test_hooks_are_gone_afterwards_also_after_an_error():
    model = net()
    with Capture(model, [tap("0", "2.0"), tap("2", inputs=True)]):
        assert hooks(model) == 3
    assert hooks(model) == 0
    with pytest.raises(RuntimeError, match="mat1 and mat2"), Capture(model, [tap("0", "2"), tap("3", inputs=True)]):
        model(torch.zeros(2, 99))
    assert hooks(model) == 0
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        collect(model, torch.zeros(2, 99), None, [tap("0")])
    assert hooks(model) == 0


def test_a_path_that_is_not_there_is_refused_with_near_ones_and_leaves_no_hook():
    model = nn.Module()
    model.encoder = nn.Linear(3, 5)
    model.classifier = nn.Linear(5, 2)
    with pytest.raises(UnknownNameError, match=r"'encodr'\. Did you mean 'encoder'"):
        Capture(model, [tap("classifier", "encodr")])
    with pytest.raises(UnknownNameError, match="unknown module path: expected one of classifier, encoder"):
        collect(model, X, None, [logits, tap("nowhere")])
    assert hooks(model) == 0


class Odd(nn.Module):
    """Gives something else than one tensor."""

    def __init__(self, given):
        super().__init__()
        self.given = given

    def forward(self, x=None):
        return self.given


class Around(nn.Module):
    """A network with an odd module in it, called with a tensor, with a tuple or without arguments."""

    def __init__(self, given=None, how="tensor"):
        super().__init__()
        self.odd, self.how = Odd(given), how

    def forward(self, x):
        self.odd(*{"tensor": (x,), "tuple": ((x, x),), "nothing": ()}[self.how])
        return x


@pytest.mark.parametrize("given", [(X, X), [X], {"out": X}, None])
def test_a_module_that_does_not_give_one_tensor_is_refused_by_name(given):
    model = Around(given)
    with pytest.raises(ModelError, match=r"module 'odd': expected a tensor; received .*Tap a module that gives one"):
        collect(model, X, None, [tap("odd")])
    assert hooks(model) == 0
    assert model(X) is X


@pytest.mark.parametrize("how", ["tuple", "nothing"])
def test_a_module_that_does_not_take_one_tensor_is_refused_by_name(how):
    model = Around(how=how)
    with pytest.raises(ModelError, match=r"module 'odd': expected a tensor"):
        collect(model, X, None, [tap("odd", inputs=True)])
    assert hooks(model) == 0


def test_the_examples_in_the_docstrings_run():
    found = doctest.testmod(ckd.outputs)
    assert found.attempted > 0
    assert found.failed == 0


# one forward pass for all ------------------------------------------------------------------------------------------


def test_collect_gives_what_is_wanted_of_one_forward_pass():
    model, passes = net(), []
    model.register_forward_hook(lambda *_: passes.append(1))
    wanted = [logits, tap("0"), features, tap("2", "1")]
    found = collect(model, X, None, wanted, head="3")
    assert passes == [1]
    assert list(found) == wanted
    assert torch.equal(found[logits], model(X))
    assert torch.equal(found[features], model[:3](X))
    assert torch.equal(found[tap("0")], model[0](X))
    assert torch.equal(found[tap("2", "1")][1], model[:2](X))


def test_collect_of_logits_alone_sets_no_hooks_and_keeps_mode_and_graph():
    model, seen = net().train(), []
    model.register_forward_pre_hook(lambda m, _: seen.append((hooks(m), m.training)))
    found = collect(model, X, None, [logits])
    assert seen == [(1, True)]
    assert list(found) == [logits]
    assert found[logits].requires_grad


def test_task_labels_go_only_to_models_for_which_there_are_some():
    class Tasks(nn.Module):
        def forward(self, x, *tasks):
            return len(tasks), *tasks

    labels = torch.arange(6)
    assert call(Tasks(), X) == (0,)
    assert call(Tasks(), X, labels) == (1, labels)
    assert collect(Tasks(), X, labels, [logits])[logits][1] is labels


# the head ----------------------------------------------------------------------------------------------------------


def flat(*layers):
    return nn.Sequential(nn.Flatten(), *layers)


HEADED = {
    "mlp": (lambda: bench_network("mlp", (12,), 3), (12,), "5", lambda m, x: m[:-1](x)),
    "convnet": (lambda: bench_network("convnet", (1, 8, 8), 3), (1, 8, 8), "14", lambda m, x: m[:-1](x)),
    "SimpleMLP": (lambda: SimpleMLP(3, 12, hidden_size=9), (12,), "classifier", SimpleMLP.get_features),
    "growing, masked": (Growing, (6,), "classifier.classifier", lambda m, x: m.features(x)),
    "growing": (lambda: Growing(masking=False), (6,), "classifier.classifier", lambda m, x: m.features(x)),
}


@pytest.mark.parametrize("name", HEADED)
def test_the_head_is_found_and_features_are_what_the_network_before_it_gives(name):
    make, shape, path, before = HEADED[name]
    model = make().eval()
    x = torch.randn(5, *shape)
    assert find_head(model, x) == path
    found = collect(model, x, None, [features, logits], path)
    torch.testing.assert_close(found[features], before(model, x))
    head = head_at(model, path)
    shown = model.classifier.active_units.bool() if name == "growing, masked" else slice(None)
    torch.testing.assert_close(found[logits][:, shown], linear(head, found[features])[:, shown])
    assert hooks(model) == 0


def test_a_head_that_has_grown_is_found():
    model = Growing()
    model.classifier.classifier = nn.Linear(16, 7)
    model.classifier.active_units = torch.ones(7)
    assert find_head(model, torch.zeros(2, 6)) == "classifier.classifier"
    assert head_at(model, "classifier.classifier").out_features == 7


def test_of_several_heads_the_one_of_the_task_is_found():
    model = MultiHead()
    for task in (0, 1):
        adapt(model.classifier, [0, 1], task)
    for task in (0, 1):
        found = find_head(model, torch.zeros(2, 6), torch.tensor([task, task]))
        assert found == f"classifier.classifiers.{task}.classifier"


class TwoHeads(nn.Module):
    """Two heads of one width; what it returns is the first's, changed by `after`, or something of both."""

    def __init__(self, after=lambda main, auxiliary: main, auxiliary=3):
        super().__init__()
        self.body, self.after = nn.Linear(4, 5), after
        self.main, self.auxiliary = nn.Linear(5, 3), nn.Linear(5, auxiliary)

    def forward(self, x):
        h = self.body(x).relu()
        return self.after(self.main(h), self.auxiliary(h))


def test_an_auxiliary_head_that_was_registered_last_is_not_the_head():
    assert find_head(TwoHeads(), torch.randn(5, 4)) == "main"
    assert find_head(TwoHeads(lambda main, auxiliary: auxiliary), torch.randn(5, 4)) == "auxiliary"


@pytest.mark.parametrize("after", [lambda z, _: z.clone(), lambda z, _: z.double(), lambda z, _: z + 0], ids=range(3))
def test_copied_logits_are_known_by_their_values(after):
    assert find_head(TwoHeads(after), torch.randn(5, 4)) == "main"


def test_of_two_heads_of_equal_values_the_one_whose_output_is_returned_is_found():
    for after, path in ((lambda z, _: z, "main"), (lambda _, a: a, "auxiliary"), (lambda _, a: a.add_(1), "auxiliary")):
        model = TwoHeads(after)
        for head in (model.main, model.auxiliary):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        assert find_head(model, torch.randn(5, 4)) == path


def test_where_the_logits_are_changed_the_head_is_the_only_layer_of_their_width():
    assert find_head(TwoHeads(lambda z, _: z.log_softmax(-1), auxiliary=7), torch.randn(5, 4)) == "main"
    model = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3), nn.LogSoftmax(-1))
    assert find_head(model, torch.randn(5, 4)) == "1"


@pytest.mark.parametrize("after", [lambda z, _: z.log_softmax(-1), lambda z, a: z + a])
def test_two_candidates_are_refused_and_it_is_said_to_name_one(after):
    with pytest.raises(ModelError, match=r"one linear layer.*received main, auxiliary\. Name it.*head=\"classifier\""):
        find_head(TwoHeads(after), torch.randn(5, 4))


@pytest.mark.parametrize(
    ("model", "received"),
    [
        (flat(nn.Identity()), "none among no linear layers"),
        (nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten()), "none among no linear layers"),
        (flat(nn.Linear(16, 5), nn.Flatten(0), nn.Unflatten(0, (-1, 1))), "none among 1"),
    ],
)
def test_a_model_without_a_linear_head_is_refused(model, received):
    with pytest.raises(ModelError, match=f"head of the model: expected one linear layer.*received {received}"):
        find_head(model, torch.zeros(2, 1, 4, 4))


def test_logits_of_sequences_have_a_head_too():
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3))
    assert find_head(model, torch.randn(2, 7, 4)) == "2"


def restless():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))
    model.train()[2].eval()
    return model


@pytest.mark.parametrize("fails", [False, True])
def test_looking_for_the_head_leaves_no_trace(fails):
    model, modes = restless(), [True, True, True, False, True]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    drawn = torch.random.get_rng_state()
    if fails:
        with pytest.raises(RuntimeError, match="mat1 and mat2"):
            find_head(model, torch.randn(5, 9, generator=torch.Generator()))
    else:
        assert find_head(model, torch.randn(5, 4, generator=torch.Generator())) == "3"
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.is_grad_enabled()
    assert hooks(model) == 0


@pytest.mark.parametrize(("path", "received"), [(None, "at None"), ("1", "ReLU.* at '1'"), ("9", "at '9'")])
def test_a_head_that_is_not_a_linear_layer_is_refused(path, received):
    assert head_at(net(), "3").out_features == 2
    with pytest.raises(ModelError, match=rf"head of the model: expected a linear layer; received .*{received}"):
        head_at(net(), path)
