"""Herding against the greedy loop of iCaRL's algorithm 4, and the memory it fills in Avalanche."""

import numpy as np
import pytest
import torch
from avalanche.benchmarks.scenarios.online import split_online_stream
from shared import assert_plain, classes_in
from sklearn.preprocessing import normalize
from torch import nn

from ckd import Objective, SelfDistillation, Term, recipes
from ckd.data import arrays, as_benchmark, split
from ckd.errors import ConfigError, DataError
from ckd.losses import logit_mse
from ckd.memory import HerdedMemory, Memory, Rows
from ckd.memory.herded import herd
from ckd.objective import replay, stored_logits
from ckd.part import Ending


def greedy(features, n):
    """Algorithm 4: one after the other, whoever brings the mean of the chosen closest to the mean of all."""
    mean, chosen = features.mean(0), []
    while len(chosen) < min(n, len(features)):
        gaps = {
            i: np.linalg.norm(mean - features[[*chosen, i]].mean(0)) for i in range(len(features)) if i not in chosen
        }
        chosen.append(min(gaps, key=gaps.get))
    return chosen


def rows(targets, seed=0, dtype=torch.float64):
    """Rows of 3 random numbers with these labels."""
    raw = torch.randn(len(targets), 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    targets = torch.tensor(targets)
    return Rows((10 * raw).to(dtype), targets, 0 * targets, 0 * targets)


class Headed(nn.Linear):
    """Its head takes in what it is given, so features are the raw samples."""

    def __init__(self):
        super().__init__(3, 9, dtype=torch.float64)

    def forward(self, x):
        return super().forward(x.double())


def end(memory, seen, *batches):
    memory.end(Ending(Headed(), classes_in(seen), data=lambda: iter(batches), head=""))


def expected(batch, share):
    """What the greedy loop takes of a batch: raw contents by class, in its order."""
    x, y = batch.raw.double().numpy(), batch.targets.numpy()
    return {c: x[y == c][greedy(normalize(x[y == c]), share)].tolist() for c in sorted(set(y.tolist()))}


def contents(memory):
    stored = memory.rows
    return {c: stored.raw[stored.targets == c].tolist() for c in sorted(set(stored.targets.tolist()))}


# herding -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "size"), [(1, 1), (1, 20), (7, 20), (20, 20), (35, 20), (12, 150), (0, 5), (3, 0)])
@pytest.mark.parametrize("width", [1, 8])
def test_herding_is_the_greedy_loop(n, size, width):
    features = np.random.default_rng(size + n).standard_normal((size, width))
    found = herd(torch.tensor(features), n)
    assert found.dtype == torch.int64
    assert found.tolist() == (greedy(features, n) if size else [])
    assert len(set(found.tolist())) == min(n, size)


def test_the_first_of_a_longer_herd_are_the_shorter_herd():
    features = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    assert herd(features, 30)[:9].tolist() == herd(features, 9).tolist()


# what is kept ------------------------------------------------------------------------------------------------------


def test_each_class_gets_its_share_and_old_ones_are_cut_from_the_back():
    memory = HerdedMemory(20)
    first, second, third = rows([0, 1] * 15), rows([2, 3] * 15, 1), rows([4] * 30, 2)
    end(memory, [0, 1], first)
    assert contents(memory) == expected(first, 10)
    end(memory, range(4), second)
    assert contents(memory) == {**expected(first, 5), **expected(second, 5)}
    end(memory, range(5), third)
    assert contents(memory) == {**expected(first, 4), **expected(second, 4), **expected(third, 4)}
    assert len(memory) == 20


def test_a_share_is_rounded_down_and_a_small_class_leaves_room():
    memory, batch = HerdedMemory(11), rows([0] * 20 + [1] * 2 + [2] * 20)
    end(memory, range(3), batch)
    assert contents(memory) == expected(batch, 3)
    assert memory.rows.targets.bincount().tolist() == [3, 2, 3]


def test_batches_of_an_experience_are_herded_together():
    one, many, batch = HerdedMemory(8), HerdedMemory(8), rows([0, 1, 2] * 10)
    end(one, range(3), batch)
    end(many, range(3), *(batch.take(i) for i in torch.arange(30).split(7)))
    assert contents(one) == contents(many) == expected(batch, 2)


def test_columns_of_a_row_stay_together():
    memory, batch = HerdedMemory(9), rows([2, 0, 1] * 10)
    batch.tasks, batch.experiences = batch.raw[:, 0].long(), batch.raw[:, 1].long()
    end(memory, range(3), batch)
    stored = memory.rows
    assert torch.equal(stored.tasks, stored.raw[:, 0].long())
    assert torch.equal(stored.experiences, stored.raw[:, 1].long())
    found = (stored.raw[:, None] == batch.raw).all(2).float().argmax(1)
    assert torch.equal(batch.targets[found], stored.targets)


def test_an_experience_without_new_classes_or_without_data_keeps_what_is_there():
    memory, first = HerdedMemory(10), rows([0, 1] * 15)
    end(memory, [0, 1], first)
    end(memory, [0, 1], rows([1, 0] * 15, 1))
    end(memory, [0, 1])
    assert contents(memory) == expected(first, 5)


def test_a_class_that_returns_beside_a_new_one_is_not_herded_again():
    memory, first, second = HerdedMemory(12), rows([0, 1] * 15), rows([1, 2] * 15, 1)
    end(memory, [0, 1], first)
    end(memory, [0, 1, 2], second)
    assert contents(memory) == {**expected(first, 4), 2: expected(second, 4)[2]}


@pytest.mark.parametrize("size", [0, 1])
def test_a_memory_smaller_than_the_number_of_classes_stays_empty(size):
    memory = HerdedMemory(size)
    for _ in range(2):
        end(memory, [0, 1], rows([0, 1] * 5))
        assert len(memory) == 0


def test_a_memory_of_one_holds_one():
    memory, batch = HerdedMemory(1), rows([0] * 5)
    end(memory, [0], batch)
    assert contents(memory) == expected(batch, 1)


def test_samples_of_another_kind_are_refused_and_nothing_is_lost():
    memory, first = HerdedMemory(10), rows([0, 1] * 15)
    end(memory, [0, 1], first)
    with pytest.raises(DataError, match="samples to remember"):
        end(memory, range(3), rows([2] * 5, dtype=torch.float32))
    assert contents(memory) == expected(first, 5)


def test_state_goes_into_another_memory_which_continues_alike():
    memory, other = HerdedMemory(10, seed=1), HerdedMemory(10, seed=2)
    end(memory, [0, 1], rows([0, 1] * 15))
    memory.sample(3)
    assert_plain(memory.state_dict())
    other.load_state_dict(memory.state_dict(), Headed())
    for _ in range(2):
        assert contents(memory) == contents(other)
        assert torch.equal(memory.sample(4).raw, other.sample(4).raw)
        for m in (memory, other):
            end(m, range(4), rows([2, 3] * 15, 1))
    assert set(contents(other)) == {0, 1, 2, 3}


def test_what_it_needs_is_told():
    memory = HerdedMemory(10)
    assert memory.needs_head
    assert memory.needs_data
    assert memory.needs_whole_experience
    assert not Memory(10).needs_head
    assert not Memory(10).needs_data
    assert not Memory(10).needs_whole_experience


def test_to_hold_samples_out_is_refused():
    with pytest.raises(ConfigError, match="herded memory: expected held_out=0"):
        HerdedMemory(10, held_out=0.1)


def test_terms_that_need_stored_logits_are_refused_at_construction():
    term = Term("replay", replay("a"), stored_logits, logit_mse)
    with pytest.raises(ConfigError):
        Objective("x", [term], memory=HerdedMemory(10))


# in Avalanche ------------------------------------------------------------------------------------------------------


class Watch:
    """What is remembered, and which remembered labels are drawn, at each step."""

    def __init__(self, memory):
        self.memory, self.held, self.drawn = memory, [], []

    def before_forward(self, strategy, **kwargs):
        self.drawn.append(strategy.mb_y[8:].tolist())  # behind the stream's batch

    def after_update(self, strategy, **kwargs):
        self.held.append(self.memory.rows.raw.clone() if len(self.memory) else None)


def test_three_experiences_of_icarl(blobs, benchmark_of, network, naive):
    """The contents against the greedy loop over the features of the model as it was; nothing moves in between."""
    plugin = SelfDistillation(recipes.icarl(memory_size=20), joint=True)
    memory, experiences = plugin.objective.memory, blobs(dtype=torch.float64)
    watch, wanted = Watch(memory), {}
    strategy = naive(network(dtype=torch.float64), [plugin, watch])
    for i, experience in enumerate(benchmark_of(experiences).train_stream):
        before = memory.rows.raw.clone() if i else None
        strategy.train(experience)
        steps = slice(5 * i, 5 * i + 5)
        if i:
            assert all(torch.equal(held, before) for held in watch.held[steps])
            assert all(len(drawn) == 8 for drawn in watch.drawn[steps])
            assert {c for drawn in watch.drawn[steps] for c in drawn} == set(range(2 * i))
        else:
            assert watch.held == [None] * 5
            assert watch.drawn == [[]] * 5
        share = 20 // (2 * i + 2)
        wanted = {c: exemplars[:share] for c, exemplars in wanted.items()}
        (x, y), features = experiences[i], strategy.model[:2]
        for c in (2 * i, 2 * i + 1):
            members = x[y == c]
            herded = greedy(normalize(features(members).detach().numpy()), share)
            wanted[c] = members[herded].tolist()
        assert contents(memory) == wanted
        assert memory.rows.experiences.tolist() == [c // 2 for c in memory.rows.targets.tolist()]


def test_an_online_stream_is_refused(blobs, benchmark_of, network, naive):
    plugin, stream = SelfDistillation(recipes.icarl(memory_size=60)), benchmark_of(blobs()).train_stream
    online = split_online_stream(stream, experience_size=8, access_task_boundaries=True)
    with pytest.raises(ConfigError, match="an online stream"):
        naive(network(), [plugin]).train(online)


def test_bytes_stay_bytes(naive):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (60, 1, 5, 5), dtype=torch.uint8, generator=generator)
    y = torch.arange(60) % 4
    plugin = SelfDistillation(recipes.icarl(memory_size=12))
    model = nn.Sequential(nn.Flatten(), nn.Linear(25, 4))
    naive(model, [plugin]).train(as_benchmark(split(arrays(x, y, x, y), 2)).train_stream)
    memory = plugin.objective.memory
    assert memory.rows.raw.dtype == torch.uint8
    assert memory.rows.targets.bincount().tolist() == [3] * 4
    assert memory.nbytes()["inputs"] == 12 * 25
    for sample, target in zip(memory.rows.raw, memory.rows.targets, strict=True):
        same = (x == sample).flatten(1).all(1)
        assert y[same].tolist() == [target]
