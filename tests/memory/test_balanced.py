"""Balanced against a brute-force division of the places, and against the uniform distribution."""

from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from ckd.errors import ConfigError
from ckd.memory import Balanced, Memory, Rows

KEYS = {"class": lambda c, t: c, "task": lambda c, t: t, "both": lambda c, t: (c, t)}
EVERY_KIND = pytest.mark.parametrize("by", KEYS)


def rows_of(labels, first=0):
    """Rows with these (class, experience) labels, numbered from `first`."""
    classes, tasks = (torch.tensor(column, dtype=torch.int64) for column in zip(*labels, strict=True))
    return Rows(torch.arange(first, first + len(labels)), classes, torch.zeros_like(tasks), tasks)


def offered(by, size, labels, batch=16, seed=0):
    memory = Memory(size, policy=Balanced(by), seed=seed)
    for i in range(0, len(labels), batch):
        memory.add(rows_of(labels[i : i + batch], i))
    return memory


def stream(n, classes=5, tasks=3, seed=0):
    """Labels of an unbalanced stream: the first class and task come most often."""
    rng = np.random.default_rng(seed)
    return [(int(classes * u**2), int(tasks * v**2)) for u, v in rng.random((n, 2))]


def counts(memory, by):
    labels = zip(memory.rows.targets.tolist(), memory.rows.experiences.tolist(), strict=True)
    return Counter(KEYS[by](c, t) for c, t in labels)


def shared_out(sizes, places):
    """How many places each group gets, at the least: dealt one at a time in turn while it has samples left."""
    given = dict.fromkeys(sizes, 0)
    while places >= sum(given[g] < sizes[g] for g in sizes) > 0:
        for g in sizes:
            if given[g] < sizes[g]:
                given[g], places = given[g] + 1, places - 1
    return given


def best_of_each_group(by, labels, size, priority):
    """Brute force: deal the places in rounds, each group's best remaining first, the last round by priority."""
    waiting = defaultdict(list)
    for i, (c, t) in enumerate(labels):
        waiting[KEYS[by](c, t)].append((priority[i], i))
    kept = []
    for group in waiting.values():
        group.sort(reverse=True)
    while len(kept) < size and any(waiting.values()):
        heads = sorted((group.pop(0) for group in waiting.values() if group), reverse=True)
        kept += [i for _, i in heads[: size - len(kept)]]
    return sorted(kept)


@EVERY_KIND
@pytest.mark.parametrize(
    ("batch", "size"), [(1, 4), (1, 150), (5, 23), (16, 1), (16, 150), (64, 23), (300, 1), (300, 4)]
)
def test_kept_samples_are_those_of_a_brute_force_choice_over_the_whole_stream(by, batch, size):
    labels = stream(200, seed=size)
    generator = torch.Generator().manual_seed(0)
    drawn = [
        torch.rand(len(labels[i : i + batch]), generator=generator, dtype=torch.float64) for i in range(0, 200, batch)
    ]
    expected = best_of_each_group(by, labels, size, torch.cat(drawn).tolist())
    assert sorted(offered(by, size, labels, batch).rows.raw.tolist()) == expected


@EVERY_KIND
def test_groups_differ_by_at_most_one_when_each_offered_enough(by):
    labels = [(i % 5, i % 3) for i in range(600)]  # 15 pairs, each 40 times
    memory = Memory(37, policy=Balanced(by))
    for i in range(0, 600, 24):
        memory.add(rows_of(labels[i : i + 24], i))
    found = counts(memory, by)
    assert len(found) == {"class": 5, "task": 3, "both": 15}[by]
    assert sum(found.values()) == 37
    assert max(found.values()) - min(found.values()) <= 1


@EVERY_KIND
@pytest.mark.parametrize("seed", range(4))
def test_groups_are_balanced_after_every_batch_of_an_unbalanced_stream(by, seed):
    labels = stream(160, seed=seed)
    memory = Memory(30, policy=Balanced(by), seed=seed)
    for i in range(0, 160, 20):
        memory.add(rows_of(labels[i : i + 20], i))
        least = shared_out(Counter(KEYS[by](c, t) for c, t in labels[: i + 20]), 30)
        found = counts(memory, by)
        assert sum(found.values()) == min(30, i + 20)
        assert all(least[group] <= found[group] <= least[group] + 1 for group in least)


def test_small_groups_are_kept_whole_and_the_others_share_the_rest():
    labels = [(0, 0)] * 100 + [(1, 0)] * 3 + [(2, 0)] * 100 + [(3, 0)]
    memory = offered("class", 24, labels)
    assert counts(memory, "class") == {0: 10, 1: 3, 2: 10, 3: 1}
    assert {100, 101, 102, 203} <= set(memory.rows.raw.tolist())


def test_shares_shrink_when_a_new_group_arrives():
    memory = Memory(12, policy=Balanced("class"))
    shares = []
    for c in range(4):
        memory.add(rows_of([(c, 0)] * 50, first=50 * c))
        shares.append(counts(memory, "class"))
    assert shares == [{0: 12}, {0: 6, 1: 6}, {0: 4, 1: 4, 2: 4}, {0: 3, 1: 3, 2: 3, 3: 3}]


def test_what_a_group_loses_does_not_come_back():
    memory, kept = Memory(12, policy=Balanced("class")), []
    for c in range(4):
        memory.add(rows_of([(c, 0)] * 50, first=50 * c))
        kept.append({i for i in memory.rows.raw.tolist() if i < 50})
    assert kept[0] > kept[1] > kept[2] > kept[3]


def test_the_same_class_in_two_experiences_is_two_groups_only_by_both():
    labels = [(0, 0), (1, 0), (0, 1)] * 40
    assert counts(offered("class", 12, labels), "class") == {0: 6, 1: 6}
    assert counts(offered("task", 12, labels), "task") == {0: 6, 1: 6}
    assert counts(offered("both", 12, labels), "both") == {(0, 0): 4, (1, 0): 4, (0, 1): 4}


def test_groups_are_told_apart_whatever_the_class():
    labels = [(64, 0), (0, 1), (3**20, 1)] * 40
    assert counts(offered("both", 12, labels), "both") == {(64, 0): 4, (0, 1): 4, (3**20, 1): 4}


def test_every_sample_of_a_group_is_equally_likely_to_be_kept():
    trials, each = 500, 12
    labels = [(0, 0)] * each + [(1, 0)] * each
    rng = np.random.default_rng(0)
    found = np.empty((trials, 2), dtype=int)
    for seed in range(trials):
        kept = np.sort(offered("class", 5, labels, batch=8, seed=seed).rows.raw)
        for group in (0, 1):  # one of each from each trial: independent draws
            found[seed, group] = rng.choice(kept[kept // each == group]) - each * group
    for drawn in found.T:
        assert chisquare(np.bincount(drawn, minlength=each)).pvalue > 0.01


class Watched(Balanced):
    """Balanced that notes what it decided."""

    def admit(self, *arguments):
        self.decided = super().admit(*arguments)
        return self.decided


@EVERY_KIND
def test_rows_go_to_distinct_slots_filled_from_the_front(by):
    policy, labels = Watched(by), stream(117)
    memory = Memory(20, policy=policy)
    for i in range(0, 117, 9):
        held = len(memory)
        memory.add(rows_of(labels[i : i + 9], i))
        rows, slots = policy.decided
        assert rows.dtype == slots.dtype == torch.int64
        assert len(set(slots.tolist())) == len(slots) == len(set(rows.tolist()))
        assert set(rows.tolist()) <= set(range(9))
        assert set(range(held, min(20, i + 9))) <= set(slots.tolist()) <= set(range(20))


@pytest.mark.parametrize("by", ["classes", "Class", "", None, 0])
def test_an_unknown_balance_is_refused(by):
    with pytest.raises(ConfigError, match=r"balance of the memory: expected \"class\", \"task\" or \"both\"") as caught:
        Balanced(by)
    assert f"received {by!r}" in str(caught.value)
