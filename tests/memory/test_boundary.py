"""BoundaryMemory: whose samples it holds after each experience, and where it cannot wait for the end of one."""

import pytest
import torch
from avalanche.benchmarks.scenarios.online import split_online_stream
from avalanche.models import MultiHeadClassifier, MultiTaskModule
from shared import assert_plain, classes_in
from torch import nn

from ckd import Objective, SelfDistillation, Term
from ckd.errors import DataError
from ckd.losses import cross_entropy
from ckd.memory import BoundaryMemory, HerdedMemory, Rows
from ckd.objective import replay
from ckd.part import Ending


def rows(targets, experience=0, seed=0, dtype=torch.float32):
    targets = torch.tensor(targets)
    raw = torch.randn(len(targets), 3, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return Rows(raw, targets, 0 * targets, 0 * targets + experience)


class Two(nn.Module):
    """Logits that are twice what its linear layer gives, the one layer of that width."""

    def __init__(self):
        super().__init__()
        self.body, self.linear = nn.Linear(3, 5), nn.Linear(5, 9)

    def forward(self, x):
        return 2 * self.linear(self.body(x))


class Headless(nn.Module):
    """Logits of no linear layer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 9, generator=torch.Generator().manual_seed(1)))

    def forward(self, x):
        return x @ self.weight


def end(memory, experience, batch, model=None):
    seen = sorted({*batch.targets.tolist(), *(memory.rows.targets.tolist() if len(memory) else [])})
    memory.end(Ending(model or Two(), classes_in(seen), experience, data=lambda: iter([batch])))


def groups(memory):
    """How many samples of each (experience, class)."""
    pairs = list(zip(memory.rows.experiences.tolist(), memory.rows.targets.tolist(), strict=True))
    return {pair: pairs.count(pair) for pair in sorted(set(pairs))}


def test_every_class_of_every_experience_has_its_share_when_that_has_ended():
    memory = BoundaryMemory(12)
    assert len(memory) == 0
    end(memory, 0, rows([0, 1] * 20))
    assert groups(memory) == {(0, 0): 6, (0, 1): 6}
    end(memory, 1, rows([2, 3] * 20, 1, seed=1))
    assert groups(memory) == {(0, 0): 3, (0, 1): 3, (1, 2): 3, (1, 3): 3}
    end(memory, 2, rows([0, 3] * 20, 2, seed=2))  # classes that return
    assert groups(memory) == {(0, 0): 2, (0, 1): 2, (1, 2): 2, (1, 3): 2, (2, 0): 2, (2, 3): 2}
    end(memory, 3, rows([4] * 20, 3, seed=3))
    assert set(groups(memory)) == {(0, 0), (0, 1), (1, 2), (1, 3), (2, 0), (2, 3), (3, 4)}


def test_a_class_is_told_from_every_class_of_another_experience():
    memory = BoundaryMemory(10)
    end(memory, 0, rows([0, 64] * 20))
    end(memory, 1, rows([0, 3**20] * 20, 1, seed=1))
    end(memory, 2, rows([5] * 20, 2, seed=2))  # what is stored is divided anew
    assert groups(memory) == {(0, 0): 2, (0, 64): 2, (1, 0): 2, (1, 3**20): 2, (2, 5): 2}


def test_it_takes_what_a_memory_takes():
    assert BoundaryMemory(4, seed=3).generator.initial_seed() == 3


def test_places_that_do_not_divide_evenly_are_given_out_too():
    memory = BoundaryMemory(11, seed=3)
    end(memory, 0, rows([0, 1, 2] * 20))
    assert sorted(groups(memory).values()) == [3, 4, 4]


def test_of_more_groups_than_places_some_are_kept():
    memory = BoundaryMemory(5)
    for experience in range(8):
        end(memory, experience, rows([0, 1] * 10, experience, seed=experience))
        assert len(memory) <= 5
        assert max(groups(memory).values()) <= 3
    assert len(groups(memory)) >= 3


def test_a_class_by_class_stream_is_herded_as_by_icarls_memory():
    """Where the shares come out even."""
    model, mine, other = Two(), BoundaryMemory(12), HerdedMemory(12)
    for experience, classes in enumerate([(0, 1), (2, 3)]):
        batch = rows([*classes] * 30, experience, seed=experience)
        seen = list(range(2 * experience + 2))
        for memory in (mine, other):
            memory.end(Ending(model, classes_in(seen), experience, data=lambda b=batch: iter([b]), head="linear"))
    for c in range(4):
        found, wanted = (m.rows.raw[m.rows.targets == c] for m in (mine, other))
        assert torch.equal(found, wanted)


def test_it_finds_the_head_or_does_without():
    batch, told, found = rows([0, 1] * 30), BoundaryMemory(4), BoundaryMemory(4)
    model = Two()
    end(found, 0, batch, model)
    told.end(Ending(model, classes_in([0, 1]), 0, data=lambda: iter([batch]), head="linear"))
    assert torch.equal(found.rows.raw, told.rows.raw)
    headless = BoundaryMemory(4)
    end(headless, 0, batch, Headless())
    assert groups(headless) == {(0, 0): 2, (0, 1): 2}


def test_samples_of_another_kind_are_refused_and_nothing_is_lost():
    memory = BoundaryMemory(4)
    end(memory, 0, rows([0, 1] * 5))
    before = memory.rows.raw.clone()
    with pytest.raises(DataError):
        end(memory, 1, rows([2, 3] * 5, 1, dtype=torch.float64))
    assert torch.equal(memory.rows.raw, before)


def test_nothing_is_remembered_of_no_places_or_no_data():
    memory = BoundaryMemory(0)
    end(memory, 0, rows([0, 1]))
    assert len(memory) == 0
    memory = BoundaryMemory(4)
    memory.end(Ending(Two(), classes_in([0, 1]), 0, data=lambda: iter(())))
    assert len(memory) == 0


def test_state_goes_into_another_memory_which_continues_alike():
    one, other = BoundaryMemory(7), BoundaryMemory(7, seed=5)
    end(one, 0, rows([0, 1] * 9))
    state = one.state_dict()
    assert_plain(state)
    other.load_state_dict(state)
    model = Two()
    for memory in (one, other):
        end(memory, 1, rows([2, 3, 4] * 9, 1, seed=1), model)
    assert torch.equal(one.rows.raw, other.rows.raw)
    before = torch.get_rng_state()
    for memory in (one, other):
        memory.in_pieces()
        memory.in_pieces()  # which changes nothing any more
    assert torch.equal(one.policy.priority, other.policy.priority)
    assert torch.equal(torch.get_rng_state(), before)
    other.load_state_dict(one.state_dict())
    assert other.state_dict()["as_they_come"]


# in Avalanche --------------------------------------------------------------------------------------------------------


def plugin_of(size):
    term = Term("replay", replay("a"), loss=cross_entropy)
    return SelfDistillation(Objective("mine", [term], memory=BoundaryMemory(size)))


def held(plugin):
    return set(plugin.objective.memory.rows.experiences.tolist()) if len(plugin.objective.memory) else set()


class Watch:
    """What the memory holds after every step."""

    def __init__(self, plugin):
        self.plugin, self.seen = plugin, []

    def after_training_iteration(self, strategy, **kwargs):
        self.seen.append(held(self.plugin))


def test_while_an_experience_runs_it_holds_those_before_it_alone(blobs, benchmark_of, network, naive):
    plugin = plugin_of(12)
    watch = Watch(plugin)
    strategy = naive(network(), [plugin, watch])
    for i, experience in enumerate(benchmark_of(blobs()).train_stream):
        watch.seen.clear()
        strategy.train(experience)
        assert all(seen == set(range(i)) for seen in watch.seen)
        assert held(plugin) == set(range(i + 1))


def test_in_an_online_stream_samples_enter_as_they_come(blobs, benchmark_of, network, naive):
    plugin = plugin_of(12)
    watch = Watch(plugin)
    strategy = naive(network(), [plugin, watch])
    stream = split_online_stream(benchmark_of(blobs()).train_stream, experience_size=10, access_task_boundaries=True)
    for experience in stream:
        strategy.train(experience)
    assert watch.seen[0] == {0}
    assert sorted(groups(plugin.objective.memory).values()) == [2] * 6


class MultiHead(MultiTaskModule):
    def __init__(self):
        super().__init__()
        self.classifier = MultiHeadClassifier(6, 2)

    def forward(self, x, task_labels):
        return self.classifier(x, task_labels)


def test_with_a_head_for_each_task_samples_enter_as_they_come(blobs, benchmark_of, naive):
    plugin = plugin_of(12)
    watch = Watch(plugin)
    strategy = naive(MultiHead(), [plugin, watch])
    for experience in benchmark_of(blobs(), "index").train_stream:
        strategy.train(experience)
    assert watch.seen[0] == {0}
    assert len(plugin.objective.memory) == 12


def test_a_restored_memory_that_takes_samples_as_they_come_asks_for_no_experience():
    memory, other = BoundaryMemory(4), BoundaryMemory(4)
    memory.in_pieces()
    other.load_state_dict(memory.state_dict())
    assert not other.needs_data
    assert BoundaryMemory(4).needs_data
