"""Mutual learning: two students in one strategy, against a loop that is written out."""

import copy

import pytest
import torch
from avalanche.models import IncrementalClassifier, MultiHeadClassifier
from torch import nn
from torch.nn import functional as F

from ckd import SelfDistillation, recipes
from ckd.errors import ModelError
from ckd.plugins import LearningRateDecay, MutualLearning
from ckd.teachers import Peer


def network(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 6))


def step(student, optimizer, other, x, y):
    with torch.no_grad():
        target = other.eval()(x).softmax(1)
    other.train()
    logits = student(x)
    optimizer.zero_grad()
    (F.cross_entropy(logits, y) + F.kl_div(logits.log_softmax(1), target, reduction="batchmean")).backward()
    optimizer.step()


def test_both_learn_as_in_the_papers_algorithm(blobs, benchmark_of, naive):
    one, other = network(0), network(1)
    mine, theirs = copy.deepcopy(one), copy.deepcopy(other)
    data = blobs(n_experiences=1)
    plugin = MutualLearning(other, recipes.mutual(Peer(one)), torch.optim.SGD(other.parameters(), lr=9.0))
    strategy = naive(one, [SelfDistillation(recipes.mutual(Peer(other))), plugin, LearningRateDecay(0.0)])
    batches = []
    loss = plugin.engine.loss

    def seen(model, x, y):
        batches.append((x.clone(), y.clone()))
        return loss(model, x, y)

    plugin.engine.loss = seen
    for experience in benchmark_of(data).train_stream:
        strategy.train(experience)
    rate = strategy.optimizer.param_groups[0]["lr"]
    optimizers = [torch.optim.SGD(net.parameters(), lr=rate) for net in (mine, theirs)]
    for i, (x, y) in enumerate(batches):
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = rate * (1 - i / (len(batches) - 1))
        step(mine, optimizers[0], theirs, x, y)
        step(theirs, optimizers[1], mine, x, y)
    for trained, written in ((one, mine), (other, theirs)):
        for a, b in zip(trained.state_dict().values(), written.state_dict().values(), strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("head", [IncrementalClassifier, MultiHeadClassifier])
def test_a_head_that_grows_is_refused_before_anything_is_trained(head):
    growing = nn.Sequential(nn.Linear(6, 16), head(16, 2))
    with pytest.raises(ModelError, match=f"fixed head; received {head.__name__}"):
        MutualLearning(growing, recipes.mutual(Peer(network(0))), torch.optim.SGD(growing.parameters(), lr=0.1))
