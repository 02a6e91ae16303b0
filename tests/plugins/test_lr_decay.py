"""The learning rate falls in a line or in steps within each experience, and is the user's own afterwards."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import LRSchedulerPlugin

from ckd.checkpoint.encoding import decode, encode
from ckd.errors import ConfigError
from ckd.plugins import LearningRateDecay


class Rates(SupervisedPlugin):
    def __init__(self):
        super().__init__()
        self.seen = []

    def after_update(self, strategy, **kwargs):
        self.seen.append([group["lr"] for group in strategy.optimizer.param_groups])


@pytest.fixture
def trained(blobs, benchmark_of, network, naive, train):
    """trained(plugins, ...) -> what train returns, and the strategy, after 3 experiences of 2 epochs of 5 steps."""

    def act(*plugins, **settings):
        strategy = naive(network(), plugins, batch=8, epochs=2, **settings)
        return train(strategy, benchmark_of(blobs(n_per_class=20))), strategy

    return act


@pytest.mark.parametrize("end", [0.0, 0.1, 0.75])
def test_each_experience_goes_from_the_rate_to_its_end(trained, end):
    rates = Rates()
    _, strategy = trained(LearningRateDecay(end), rates, lr=0.2)
    line = 0.2 * np.linspace(1, end, 10)  # 2 epochs of 5 steps
    assert np.allclose(np.array(rates.seen)[:, 0], np.tile(line, 3), rtol=0, atol=1e-12)
    assert strategy.optimizer.param_groups[0]["lr"] == 0.2


def test_every_group_has_its_own_line(blobs, benchmark_of, network, naive, train):
    rates, model = Rates(), network()
    strategy = naive(model, [LearningRateDecay(0.5), rates], batch=40)
    weights = list(model.parameters())
    strategy.optimizer = torch.optim.SGD([{"params": weights[:2], "lr": 0.1}, {"params": weights[2:], "lr": 0.01}])
    train(strategy, benchmark_of(blobs(n_experiences=1, n_per_class=40)))
    assert np.allclose(rates.seen, [[0.1, 0.01], [0.05, 0.005]], rtol=0, atol=1e-12)
    assert [group["lr"] for group in strategy.optimizer.param_groups] == [0.1, 0.01]


@pytest.mark.parametrize("end", [0.0, 0.1])
def test_it_does_not_leave_the_line_in_a_long_experience(end):
    optimiser, n = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3), 10_000
    strategy, plugin = SimpleNamespace(optimizer=optimiser, dataloader=range(n), train_epochs=2), LearningRateDecay(end)
    seen = []
    for _ in range(2 * n):
        plugin.before_training_iteration(strategy)
        seen.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
    assert np.allclose(seen, 0.3 * np.linspace(1, end, 2 * n), rtol=0, atol=1e-12)
    plugin.after_training_exp(strategy)
    assert optimiser.param_groups[0]["lr"] == 0.3


def test_an_experience_of_one_iteration_keeps_the_rate(blobs, benchmark_of, network, naive, train):
    rates = Rates()
    train(naive(network(), [LearningRateDecay(0.0), rates], lr=0.2, batch=1000), benchmark_of(blobs()))
    assert rates.seen == [[0.2]] * 3


def test_a_rate_that_the_user_changes_between_experiences_is_the_next_to_fall(blobs, benchmark_of, network, naive):
    rates, stream = Rates(), benchmark_of(blobs(n_per_class=20)).train_stream
    strategy = naive(network(), [LearningRateDecay(0.5), rates], lr=0.2)
    strategy.train(stream[0])
    strategy.optimizer.param_groups[0]["lr"] = 0.1
    rates.seen.clear()
    strategy.train(stream[1])
    assert np.allclose(np.array(rates.seen)[:, 0], np.linspace(0.1, 0.05, len(rates.seen)), rtol=0, atol=1e-12)
    assert strategy.optimizer.param_groups[0]["lr"] == 0.1


def test_a_rate_in_a_tensor_comes_back(blobs, benchmark_of, network, naive, train):
    model = network()
    strategy = naive(model, [LearningRateDecay(0.1)])
    strategy.optimizer = torch.optim.SGD(model.parameters(), lr=torch.tensor(0.2), foreach=False)
    train(strategy, benchmark_of(blobs()))
    assert torch.equal(strategy.optimizer.param_groups[0]["lr"], torch.tensor(0.2))


def test_the_groups_are_as_they_were(blobs, benchmark_of, network, naive, train):
    model = network()
    weights = list(model.parameters())
    groups = [{"params": weights[:2]}, {"params": weights[2:], "lr": 0.01, "initial_lr": 0.4}]
    strategy = naive(model, [LearningRateDecay(0.1)])
    strategy.optimizer = torch.optim.SGD(groups, lr=0.2)
    before = strategy.optimizer.state_dict()["param_groups"]
    train(strategy, benchmark_of(blobs()))
    assert strategy.optimizer.state_dict()["param_groups"] == before


def test_an_end_of_one_changes_nothing(trained, same):
    assert same(trained(LearningRateDecay(1.0))[0], trained()[0])


def test_in_steps_it_falls_after_the_epochs_that_are_named(blobs, benchmark_of, network, naive, train):
    rates = Rates()
    strategy = naive(network(), [LearningRateDecay(0.5, steps=(1, 3)), rates], batch=8, epochs=4, lr=0.2)
    train(strategy, benchmark_of(blobs(n_per_class=20)))
    epochs = np.repeat([0.2, 0.1, 0.1, 0.05], 5)  # 5 steps each
    assert np.allclose(np.array(rates.seen)[:, 0], np.tile(epochs, 3), rtol=0, atol=1e-12)
    assert strategy.optimizer.param_groups[0]["lr"] == 0.2


@pytest.mark.parametrize("steps", [(), (1, 3)])
def test_a_schedule_that_is_saved_goes_on_where_it_was(steps):
    def start():
        optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
        plugin = LearningRateDecay(0.1, steps=steps)
        return plugin, SimpleNamespace(optimizer=optimiser, dataloader=range(3), train_epochs=5)

    def rates(plugin, strategy, n):
        found = []
        for _ in range(n):
            plugin.before_training_iteration(strategy)
            found.append(strategy.optimizer.param_groups[0]["lr"])
            strategy.optimizer.step()
        return found

    (first, before), (second, after) = start(), start()
    rates(first, before, 7)
    second.load_state_dict(decode(*reversed(encode(first.state_dict()))), after)
    after.optimizer.load_state_dict(before.optimizer.state_dict())
    assert rates(second, after, 8) == rates(first, before, 8)


@pytest.mark.parametrize("steps", [(0,), (1.5,), (2, -1)])
def test_steps_that_are_no_epochs_are_refused(steps):
    with pytest.raises(ConfigError, match="whole number"):
        LearningRateDecay(steps=steps)


def test_a_step_that_never_comes_is_refused(trained):
    with pytest.raises(ConfigError, match="epochs below 2"):
        trained(LearningRateDecay(steps=(1, 2)))


@pytest.mark.parametrize("end", [-0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(end):
    with pytest.raises(ConfigError, match="from 0 to 1"):
        LearningRateDecay(end)


def test_another_scheduler_is_refused(trained):
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    other = LRSchedulerPlugin(torch.optim.lr_scheduler.StepLR(optimiser, 1))
    with pytest.raises(ConfigError, match="one schedule"):
        trained(LearningRateDecay(0.1), other)


def test_an_experience_that_was_interrupted_leaves_the_rate_at_the_next_start(blobs, benchmark_of, network, naive):
    class Interrupt(SupervisedPlugin):
        once = True

        def after_update(self, strategy, **kwargs):
            if self.once and strategy.clock.train_exp_iterations == 2:
                Interrupt.once = False
                raise KeyboardInterrupt

    stream = benchmark_of(blobs()).train_stream
    plugin, rates = LearningRateDecay(0.1), Rates()
    strategy = naive(network(), [plugin, rates, Interrupt()], lr=0.2)
    with pytest.raises(KeyboardInterrupt):
        strategy.train(stream[0])
    assert pickle.loads(pickle.dumps(plugin)).end == 0.1
    rates.seen.clear()
    strategy.train(stream[1])
    assert np.allclose(np.array(rates.seen)[:, 0], np.linspace(0.2, 0.02, len(rates.seen)), rtol=0, atol=1e-12)
    assert strategy.optimizer.param_groups[0]["lr"] == 0.2
