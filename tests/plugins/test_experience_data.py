"""What a part is shown of the experience that ends."""

import pytest
import torch
from avalanche.benchmarks.scenarios.online import split_online_stream
from avalanche.training.plugins import ReplayPlugin

from ckd import Objective, SelfDistillation
from ckd.data import benchmark
from ckd.part import Part
from ckd.recipes import get


class Look(Part):
    def __init__(self):
        self.seen, self.logits = [], []

    def end(self, ending):
        rows = list(ending.data())
        self.seen.append((torch.cat([r.raw for r in rows]), torch.cat([r.targets for r in rows])))
        self.logits.append(torch.cat([ending.logits(ending.model, r) for r in rows]))


@pytest.mark.parametrize("resident", [True, False])
def test_every_sample_of_the_experience_once_and_in_order(resident, naive):
    look, stream = Look(), benchmark("permuted-digits", n_experiences=2, samples_per_class=20)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    strategy = naive(model, [SelfDistillation(Objective("x", corrections=[look]), resident=resident)], batch=100)
    for i, experience in enumerate(stream.train_stream):
        strategy.train(experience)
        held = stream.tensors.train[i]
        inputs = stream.tensors.prepare_test(held.raw().clone())
        samples, targets = look.seen[i]
        assert torch.equal(samples, held.raw() if resident else inputs)
        assert torch.equal(targets, held.targets)
        assert torch.allclose(look.logits[i], model(inputs).detach(), atol=1e-6)


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("eval_every", [-1, 1])
def test_in_an_online_stream_only_the_last_mini_batch(resident, eval_every, naive):
    """Also where an evaluation, which Avalanche forgets the mini-batch after, comes between."""
    look, stream = Look(), benchmark("permuted-digits", n_experiences=1, samples_per_class=7)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    plugin = SelfDistillation(Objective("x", corrections=[look]), resident=resident, online=True)
    strategy = naive(model, [plugin], batch=32, eval_every=eval_every)
    strategy.train(stream.train_stream, [stream.test_stream], shuffle=False)
    held = stream.tensors.train[0]
    samples, targets = look.seen[0]
    inputs = stream.tensors.prepare_test(held.raw().clone())
    assert torch.equal(samples, (held.raw() if resident else inputs)[64:])
    assert torch.equal(targets, held.targets[64:])


def test_in_an_online_stream_no_samples_of_another_plugins_replay(blobs, benchmark_of, naive, network):
    look, stream = Look(), benchmark_of(blobs())
    strategy = naive(network(), [ReplayPlugin(20), SelfDistillation(Objective("x", corrections=[look]), online=True)])
    for experience in stream.train_stream:
        strategy.train(experience)
    assert [set(targets.tolist()) for _, targets in look.seen] == [{0, 1}, {2, 3}, {4, 5}]


@pytest.mark.parametrize("recipe", ["ballast", "self-distillation", "ewc"])
def test_an_online_stream_is_as_one_that_avalanche_splits(recipe, blobs, benchmark_of, naive, network, same):
    def run(online):
        stream = benchmark_of(blobs())
        how = {"experience_size": 8, "access_task_boundaries": True, "shuffle": False}
        seen = stream.train_stream if online else split_online_stream(stream.train_stream, **how)
        objective = get(recipe).build(**({} if recipe == "ewc" else {"memory_size": 12}))
        strategy = naive(network(), [SelfDistillation(objective, online=online)])
        for experience in seen:
            strategy.train(experience, shuffle=False)
        return objective.evaluation_model(strategy.model).state_dict(), None

    assert same(run(True), run(False))


def test_looking_leaves_the_global_generator_alone(naive, blobs, benchmark_of, network, train, same):
    stream = benchmark_of(blobs())

    def run(*corrections):
        return train(
            naive(network(), [SelfDistillation(Objective("x", corrections=corrections), resident=False)]), stream
        )

    assert same(run(Look()), run())
