"""Reservoir against Vitter's algorithm R, one sample at a time, and against the uniform distribution."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from ckd.memory import Memory, Reservoir, Rows

BATCHES = [1, 2, 3, 7, 16, 50, 200]


def numbered(start, stop):
    i = torch.arange(start, stop)
    return Rows(raw=i, targets=i, tasks=i, experiences=i)


def random_numbers(n, batch, seed):
    """The numbers that a memory's own generator gives, a batch of them at a time."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [min(batch, n - i) for i in range(0, n, batch)]
    return torch.cat([torch.rand(size, generator=generator, dtype=torch.float64) for size in sizes]).tolist()


def algorithm_r(n, capacity, drawn):
    """Vitter 1985, algorithm R: fill the reservoir, then let sample t replace slot floor(u * t) if there is one."""
    reservoir = []
    for t, u in zip(range(1, n + 1), drawn, strict=True):
        slot = int(u * t)
        if len(reservoir) < capacity:
            reservoir.append(t - 1)
        elif slot < capacity:
            reservoir[slot] = t - 1
    return reservoir


def offered(n, capacity, batch, seed=0):
    memory = Memory(capacity, policy=Reservoir(), seed=seed)
    for i in range(0, n, batch):
        memory.add(numbered(i, min(i + batch, n)))
    return memory


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(("n", "capacity"), [(200, 10), (200, 1), (30, 29), (5, 10), (131, 60)])
def test_content_is_that_of_algorithm_r_slot_by_slot(n, capacity, batch):
    for seed in range(5):
        expected = algorithm_r(n, capacity, random_numbers(n, batch, seed))
        assert offered(n, capacity, batch, seed).rows.raw.tolist() == expected


def test_content_does_not_depend_on_the_size_of_the_batches():
    contents = [offered(200, 10, batch).rows.raw.tolist() for batch in BATCHES]
    assert contents == contents[:1] * len(BATCHES)


@pytest.mark.parametrize("batch", [3, 20, 90])
def test_rows_go_to_distinct_slots_filled_from_the_front(batch):
    policy, generator, capacity, held = Reservoir(), torch.Generator().manual_seed(0), 20, 0
    for i in range(0, 270, batch):
        rows, slots = policy.admit(numbered(i, i + batch), numbered(0, held), capacity, generator)
        assert rows.dtype == slots.dtype == torch.int64
        assert len(set(slots.tolist())) == len(slots) == len(set(rows.tolist()))
        assert set(rows.tolist()) <= set(range(batch))
        assert set(slots.tolist()) <= set(range(capacity))
        grown = min(capacity, i + batch)
        assert set(slots.tolist()) >= set(range(held, grown))
        held = grown


def test_every_sample_of_the_stream_is_equally_likely_to_be_in_memory():
    n, trials = 40, 1200
    found = [int(offered(n, 8, batch=9, seed=seed).sample(1).raw) for seed in range(trials)]  # independent draws
    assert chisquare(np.bincount(found, minlength=n)).pvalue > 0.01
