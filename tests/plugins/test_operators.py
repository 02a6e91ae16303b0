"""What a step costs, without a clock: operators that torch dispatches, beside the same step in plain torch."""

from collections import Counter

import pytest
import torch
from avalanche.core import SupervisedPlugin
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from ckd import SelfDistillation, TensorLoader, recipes

SIZE, MEMORY, STEPS = 8, 20, 4


class Count(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.operators = Counter()

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.operators[operator.name()] += 1
        return operator(*args, **(kwargs or {}))


class Watch(SupervisedPlugin):
    """Counts over the steps in the middle of an experience."""

    def before_training_exp(self, strategy, **kwargs):
        self.step = 0

    def before_training_iteration(self, strategy, **kwargs):
        self.step += 1
        if self.step == 2:
            self.count = Count()
            self.count.__enter__()
        if self.step == 2 + STEPS:
            self.count.__exit__(None, None, None)


def counted(plugin, blobs, benchmark_of, network, naive):
    watch = Watch()
    strategy = naive(network(), [watch, plugin], batch=SIZE)
    for experience in benchmark_of(blobs(same_classes=True)).train_stream:
        strategy.train(experience)
    return watch.count.operators


def plain_der_plus_plus(model, optimizer, inputs, targets, memory):
    """A forward pass for each batch, and a reservoir that happens to admit nothing."""
    optimizer.zero_grad()
    loss = F.cross_entropy(model(inputs), targets)
    for term in (
        lambda logits, rows: 0.5 * F.mse_loss(logits, rows[2]),
        lambda logits, rows: 0.5 * F.cross_entropy(logits, rows[1]),
    ):
        index = torch.randperm(MEMORY)[:SIZE]
        rows = [column.index_select(0, index) for column in memory]
        loss = loss + term(model(rows[0]), rows)
    loss.backward()
    optimizer.step()
    (torch.rand(SIZE) * torch.arange(1000, 1000 + SIZE)).long().tolist()


def test_a_der_plus_plus_step_dispatches_no_more_than_plain_torch(blobs, benchmark_of, network, naive):
    objective = recipes.der_plus_plus(memory_size=MEMORY, memory_batch_size=SIZE)
    mine = counted(SelfDistillation(objective), blobs, benchmark_of, network, naive)
    model, inputs, targets = network(), torch.randn(100, 6), torch.randint(0, 6, (100,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    memory = [torch.randn(MEMORY, 6), torch.randint(0, 6, (MEMORY,)), torch.randn(MEMORY, 6)]
    with Count() as count:
        for index in torch.randperm(100).split(SIZE)[:STEPS]:
            plain_der_plus_plus(model, optimizer, inputs.index_select(0, index), targets.index_select(0, index), memory)
    assert mine.total() <= count.operators.total()
    assert mine["aten::addmm"] * 3 == count.operators["aten::addmm"]  # one forward pass, not three


def test_a_plugin_without_terms_dispatches_what_avalanche_does_and_reads_the_loss(blobs, benchmark_of, network, naive):
    alone = counted(TensorLoader(), blobs, benchmark_of, network, naive)
    with_plugin = counted(SelfDistillation(recipes.naive()), blobs, benchmark_of, network, naive)
    extra = with_plugin - alone
    assert extra.pop("aten::_local_scalar_dense") == STEPS
    assert extra.total() <= STEPS  # the logits are detached for the parts to look at


@pytest.mark.parametrize("recipe", ["naive", "er", "der++", "lwf", "self-distillation"])
def test_nothing_is_read_from_the_device_but_the_named_losses_and_who_enters_the_memory(
    recipe, blobs, benchmark_of, network, naive
):
    size = {"memory_size": MEMORY} if "memory_size" in recipes.get(recipe).defaults else {}
    objective = recipes.get(recipe).build(**size)
    read = counted(SelfDistillation(objective), blobs, benchmark_of, network, naive)["aten::_local_scalar_dense"]
    terms = 1 + len(objective.terms)
    admitted = STEPS * bool(size)  # of a batch that is admitted the highest slot
    assert read <= STEPS * terms + admitted
