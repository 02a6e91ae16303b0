"""Mixup: on the line between two samples, anywhere on it as likely."""

import pytest
import torch
from scipy.stats import kstest

from ckd.objective import Batch
from ckd.views import Mixup, anyone, same_class, same_experience

SHAPES = pytest.mark.parametrize("shape", [(30,), (3, 6, 8)], ids=["flat", "image"])


def batch_of(shape, n=8, seed=0):
    inputs = torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    label = torch.arange(n)
    return Batch(inputs, label % 2, label, torch.randn(n, 4), label // 2 % 3)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def turned(batch, _):
    return torch.arange(len(batch.targets)).roll(1)


def shares(mixed, batch, partner):
    """λ of each sample, from its first place."""
    x, other, y = (part.flatten(1) for part in (batch.inputs, batch.inputs[partner], mixed.inputs))
    share = ((y - other) / (x - other))[:, :1]
    assert torch.allclose(y, share * x + (1 - share) * other, rtol=1e-9, atol=1e-9)
    return share[:, 0]


@SHAPES
def test_it_is_a_convex_sum_with_a_share_drawn_evenly_for_each_sample(shape):
    batch = batch_of(shape, n=1500)
    share = shares(Mixup(turned)(batch, generator()), batch, turned(batch, None)).numpy()
    assert share.min() >= 0
    assert share.max() <= 1
    assert kstest(share, "uniform").pvalue > 0.01


@SHAPES
@pytest.mark.parametrize(
    ("view", "key"),
    [
        (Mixup(anyone), lambda y, e: 0),
        (Mixup(), lambda y, e: e),
        (Mixup(same_experience), lambda y, e: e),
        (Mixup(same_class), lambda y, e: (y, e)),
    ],
    ids=["anyone", "default", "same experience", "same class"],
)
def test_the_other_sample_is_a_partner_that_is_allowed(shape, view, key):
    batch, g = batch_of(shape), generator()
    keys = [key(y, e) for y, e in zip(batch.targets.tolist(), batch.experiences.tolist(), strict=True)]
    met = [set() for _ in keys]
    for _ in range(60):
        mixed = view(batch, g)
        for i, y in enumerate(mixed.inputs.flatten(1)):
            x = batch.inputs.flatten(1)
            gap = y - x[i]
            for j in range(8):
                way = x[j] - x[i]
                share = (gap @ way / (way @ way)).item() if j != i else 0.0
                if j != i and abs(share) > 1e-6 and torch.allclose(gap, share * way, atol=1e-6):
                    met[i].add(j)
    assert met == [{j for j, other in enumerate(keys) if other == k and j != i} for i, k in enumerate(keys)]


@SHAPES
def test_what_is_known_stays_the_first_samples_but_for_its_answers(shape):
    batch, same = batch_of(shape), batch_of(shape)
    mixed = Mixup(anyone)(batch, generator())
    assert mixed.logits is None
    assert mixed.samples == 8
    assert mixed.inputs.dtype == torch.float64
    for name in ("targets", "tasks", "experiences"):
        assert torch.equal(getattr(mixed, name), getattr(same, name))
    assert torch.equal(batch.inputs, same.inputs)


@SHAPES
def test_draws_come_from_the_generator_alone(shape):
    batch, state = batch_of(shape), torch.random.get_rng_state()
    one, same, other = (Mixup()(batch, generator(seed)).inputs for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(state, torch.random.get_rng_state())
