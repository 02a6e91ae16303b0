"""What a part is shown of the experience that ends."""

import pytest
import torch

from ckd import Objective, SelfDistillation
from ckd.data import benchmark
from ckd.part import Part


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


def test_looking_leaves_the_global_generator_alone(naive, blobs, benchmark_of, network, train, same):
    stream = benchmark_of(blobs())

    def run(*corrections):
        return train(
            naive(network(), [SelfDistillation(Objective("x", corrections=corrections), resident=False)]), stream
        )

    assert same(run(Look()), run())
