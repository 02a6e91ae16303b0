"""The model compiled in place: what stays as it was, and what happens when it cannot be compiled."""

import copy
import pickle

import pytest
import torch
from torch import nn

from ckd import SelfDistillation, recipes
from ckd.errors import ConfigError
from ckd.plugins import Compiled, CompileWarning


@pytest.fixture(autouse=True)
def _fresh():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def broken(graph, inputs):
    raise RuntimeError("no compiler here")


def trained(recipe, plugins, blobs, benchmark_of, network, naive, train):
    torch.manual_seed(0)
    strategy = naive(network(), [SelfDistillation(recipes.get(recipe).build()), *plugins])
    train(strategy, benchmark_of(blobs()), evaluate=True)
    return strategy.model


@pytest.mark.parametrize("recipe", ["lwf", "der++"])
def test_it_trains_as_without(recipe, blobs, benchmark_of, network, naive, train):
    graphs = []

    def counting(graph, inputs):
        graphs.append(graph)
        return graph.forward

    common, plugin = (blobs, benchmark_of, network, naive, train), Compiled(counting)
    compiled = trained(recipe, [plugin], *common)
    for mine, wanted in zip(compiled.parameters(), trained(recipe, [], *common).parameters(), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-6)
    assert 1 <= len(graphs) <= torch._dynamo.config.recompile_limit
    assert plugin.graphs == len(graphs)
    assert list(compiled.state_dict()) == list(network().state_dict())


def test_where_it_cannot_compile_the_model_runs_as_it_is_and_says_so(blobs, benchmark_of, network, naive, train):
    plugin, common = Compiled(broken), (blobs, benchmark_of, network, naive, train)
    with pytest.warns(CompileWarning, match="runs uncompiled"):
        model = trained("der++", [plugin], *common)
    assert "no compiler here" in plugin.failed
    assert plugin.graphs == 0
    assert model._compiled_call_impl is None
    for mine, wanted in zip(model.parameters(), trained("der++", [], *common).parameters(), strict=True):
        assert torch.allclose(mine, wanted, rtol=1e-5, atol=1e-7)  # to rounding: it showed each sample once


class Own(nn.Module):
    """A model of a class that is none of PyTorch's."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x)


@pytest.mark.parametrize("wrapped", [nn.Sequential, Own])
def test_a_model_of_any_class_is_compiled(wrapped, blobs, benchmark_of, network, naive):
    plugin = Compiled("eager")
    naive(wrapped(network()), [plugin]).train(benchmark_of(blobs()).train_stream[0])
    assert plugin.graphs >= 1


def test_what_others_compile_is_not_counted(blobs, benchmark_of, network, naive, train):
    plugin = Compiled("eager")
    trained("naive", [plugin], blobs, benchmark_of, network, naive, train)
    counted = plugin.graphs
    torch.compile(network(), backend="eager")(torch.randn(5, 6))
    assert plugin.graphs == counted


def test_longer_streams_take_no_more_graphs(blobs, benchmark_of, network, naive):
    plugin = Compiled("eager")
    strategy = naive(network(), [SelfDistillation(recipes.der_plus_plus(memory_size=8)), plugin])
    counted = []
    for experience in benchmark_of(blobs(n_experiences=5, same_classes=True)).train_stream:
        strategy.train(experience)
        counted.append(plugin.graphs)
    assert counted[1:] == counted[1:2] * 4


def test_copies_are_not_compiled(blobs, benchmark_of, network, naive, train):
    model = trained("naive", [Compiled("eager")], blobs, benchmark_of, network, naive, train)
    assert model._compiled_call_impl is not None
    assert copy.deepcopy(model)._compiled_call_impl is None
    assert pickle.loads(pickle.dumps(model))._compiled_call_impl is None


def test_terms_about_features_are_refused(blobs, benchmark_of, network, naive, train):
    with pytest.raises(ConfigError, match="features"):
        trained("bfp", [Compiled("eager")], blobs, benchmark_of, network, naive, train)
