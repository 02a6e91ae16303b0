"""What the memory stores where another plugin changes the mini-batch: never samples that belong to other labels."""

import pytest
import torch
from avalanche.core import SupervisedPlugin

from ckd import SelfDistillation, recipes
from ckd.data import arrays, as_benchmark, split
from ckd.errors import ConfigError
from ckd.plugins import LoaderWarning

HOOKS = ("before_training_iteration", "before_forward")


class Change(SupervisedPlugin):
    """Changes some mini-batches in one of the hooks before the forward pass."""

    def __init__(self, hook, change, every):
        super().__init__()
        self.change, self.every, self.step = change, every, 0
        setattr(self, hook, self.act)

    def act(self, strategy, **kwargs):
        if self.step % self.every == 0:
            strategy.mbatch[:2] = self.change(*strategy.mbatch[:2])
        self.step += 1


def reversed_(inputs, labels):
    return inputs.flip(0), labels.flip(0)


def negated(inputs, labels):
    return -inputs, labels


def relabelled(inputs, labels):
    return inputs, labels ^ 1


def numbered(dtype=torch.uint8):
    """A stream of samples that are filled with their number, two classes an experience: uint8 is scaled, float not."""
    numbers = torch.arange(80)
    x, y = numbers[:, None].expand(-1, 6).to(dtype), labels_of(numbers)
    return as_benchmark(split(arrays(x, y, x, y), 2)).train_stream


def labels_of(numbers):
    return numbers % 2 + 2 * (numbers // 40)


@pytest.fixture
def run(network, naive):
    """run(stream, change, hook, every, ...) trains with such a plugin ahead of ours; returns ours."""

    def act(stream, change, hook="before_forward", every=1, recipe="er", **settings):
        size = {} if recipe == "lwf" else {"memory_size": 80}
        plugin = SelfDistillation(recipes.get(recipe).build(**size), **settings)
        strategy = naive(network(), [Change(hook, change, every), plugin])
        with torch.random.fork_rng():
            torch.manual_seed(0)
            strategy.train(stream)
        return plugin

    return act


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("change", [reversed_, negated])
def test_samples_that_the_loader_did_not_serve_are_not_stored_as_raw_ones(change, every, hook, run):
    with pytest.raises(ConfigError, match="resident=False"):
        run(numbered(), change, hook, every)


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize(("settings", "dtype"), [({"resident": False}, torch.uint8), ({}, torch.float32)])
@pytest.mark.filterwarnings(f"ignore::{LoaderWarning.__module__}.LoaderWarning")
def test_samples_that_are_stored_as_they_arrive_belong_to_their_labels(settings, dtype, every, hook, run):
    rows = run(numbered(dtype), reversed_, hook, every, **settings).objective.memory.rows
    numbers = (rows.raw[:, 0] * (255 if dtype == torch.uint8 else 1)).round().long()
    assert sorted(numbers.tolist()) == list(range(80))
    assert torch.equal(rows.targets, labels_of(numbers))


@pytest.mark.parametrize("hook", HOOKS)
def test_changed_samples_that_need_no_preparation_are_stored_as_changed(hook, run):
    rows = run(numbered(torch.float32), negated, hook, every=2).objective.memory.rows
    assert torch.equal(labels_of(rows.raw[:, 0].abs().long()), rows.targets)
    assert rows.raw.min() < 0 < rows.raw.max()


def test_changed_labels_are_stored_with_the_raw_samples_of_their_batch(run):
    rows = run(numbered(), relabelled).objective.memory.rows
    assert rows.raw.dtype == torch.uint8
    assert torch.equal(rows.targets, labels_of(rows.raw[:, 0].long()) ^ 1)


@pytest.mark.parametrize("change", [reversed_, negated])
def test_where_nothing_is_stored_every_change_is_fine(change, run):
    assert run(numbered(), change, recipe="lwf").objective.teachers["snapshot"].ready


def test_a_mini_batch_that_is_left_alone_is_stored_raw(run):
    rows = run(numbered(), lambda inputs, labels: (inputs, labels)).objective.memory.rows
    assert sorted(rows.raw[:, 0].tolist()) == list(range(80))
    assert torch.equal(rows.targets, labels_of(rows.raw[:, 0].long()))
