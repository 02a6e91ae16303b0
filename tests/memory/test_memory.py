"""What any memory keeps, whatever its policy."""

import gc
import io
import pickle
import random
import weakref

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from shared import assert_plain
from torch import nn

from ckd.classes import Classes
from ckd.errors import CkdError, ConfigError, DataError
from ckd.memory import Balanced, BoundaryMemory, Memory, Reservoir, Rows
from ckd.part import Ending, Update

POLICIES = pytest.mark.parametrize(
    "policy",
    [Reservoir, Balanced, lambda: Balanced("task"), lambda: Balanced("both")],
    ids=["reservoir", "class", "task", "both"],
)


def numbered(start, stop, *, width=None):
    """Rows that carry their number i in every column: target i % 3, task i % 2, experience i // 10, logits i."""
    i = torch.arange(start, stop)
    logits = None if width is None else i[:, None].expand(-1, width).float()
    return Rows(raw=i[:, None].clone(), targets=i % 3, tasks=i % 2, experiences=i // 10, logits=logits)


def mnist(n):
    """Rows shaped as MNIST's, uint8."""
    rows = numbered(0, n)
    rows.raw = torch.randint(256, (n, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return rows


def columns(rows):
    return [column for _, column in rows.items()]


def numbers(rows):
    return rows.raw[:, 0].tolist()


def offer(memory, start, stop, *, batch=7, width=None):
    for i in range(start, stop, batch):
        memory.add(numbered(i, min(i + batch, stop), width=width))
    return memory


# what is stored ----------------------------------------------------------------------------------------------------


def test_changing_the_source_does_not_change_the_memory():
    source = numbered(0, 5, width=4)
    memory = Memory(5, keep_logits=True)
    memory.add(source)
    for column in columns(source):
        column.copy_(torch.full_like(column, 99))
    stored, expected = dict(memory.rows.items()), dict(numbered(0, 5, width=4).items())
    assert stored.keys() == expected.keys()
    assert all(torch.equal(stored[name], expected[name]) for name in expected)


@POLICIES
def test_source_tensors_can_be_freed(policy):
    source = mnist(30)
    memory = Memory(20, policy=policy())
    memory.add(source)
    references = [weakref.ref(column) for column in columns(source)]
    del source
    gc.collect()
    assert [reference() for reference in references] == [None] * 4


def test_bytes_stay_bytes_and_200_mnist_samples_take_under_200_kb():
    memory, source = Memory(200), mnist(200)
    memory.add(source)
    assert memory.rows.raw.dtype == torch.uint8
    assert torch.equal(memory.rows.raw, source.raw)
    assert memory.nbytes() == {"inputs": 200 * 784, "labels": 200 * 3 * 8, "logits": 0}
    assert sum(memory.nbytes().values()) < 200_000


def test_bytes_reported_are_those_of_the_storage_held():
    memory = offer(Memory(10, keep_logits=True), 0, 50, width=6)
    held = sum(column.untyped_storage().nbytes() for column in columns(memory.rows))
    assert sum(memory.nbytes().values()) == held
    assert memory.nbytes()["logits"] == 10 * 6 * 4


@POLICIES
def test_columns_of_a_row_stay_together(policy):
    memory = offer(Memory(12, policy=policy(), keep_logits=True), 0, 100, width=2)
    i = memory.rows.raw[:, 0]
    assert len(set(i.tolist())) == len(memory) == 12
    assert torch.equal(memory.rows.targets, i % 3)
    assert torch.equal(memory.rows.tasks, i % 2)
    assert torch.equal(memory.rows.experiences, i // 10)
    assert torch.equal(memory.rows.logits, i[:, None].expand(-1, 2).float())


@POLICIES
def test_everything_is_kept_until_the_memory_is_full_and_never_more_than_its_size(policy):
    memory = Memory(12, policy=policy())
    for i in range(0, 40, 5):
        memory.add(numbered(i, i + 5))
        assert len(memory) == len(memory.rows) == min(i + 5, 12)
        if i + 5 <= 12:
            assert numbers(memory.rows) == list(range(i + 5))


def test_logits_are_not_stored_unless_it_keeps_them():
    memory = offer(Memory(5), 0, 20, width=4)
    assert memory.rows.logits is None
    assert memory.sample(2).logits is None
    assert memory.nbytes()["logits"] == 0


def test_a_growing_head_gives_older_rows_nan_for_the_new_classes():
    memory = Memory(3, keep_logits=True)
    memory.add(numbered(1, 3, width=2))
    memory.add(numbered(3, 4, width=4))
    nan = float("nan")
    np.testing.assert_array_equal(memory.rows.logits, [[1, 1, nan, nan], [2, 2, nan, nan], [3, 3, 3, 3]])


def test_logits_of_a_narrower_head_get_nan_for_the_classes_it_lacks():
    memory = Memory(2, keep_logits=True)
    memory.add(numbered(1, 2, width=3))
    memory.add(numbered(2, 3, width=1))
    np.testing.assert_array_equal(memory.rows.logits, [[1, 1, 1], [2, float("nan"), float("nan")]])


def test_a_memory_of_size_zero_remembers_nothing():
    memory = offer(Memory(0), 0, 20)
    assert len(memory) == 0
    assert memory.nbytes() == {}


def test_after_update_stores_the_stream_with_its_logits():
    memory = Memory(4, keep_logits=True)
    raw, targets, logits = torch.arange(8).view(4, 2), torch.tensor([5, 6, 7, 8]), torch.rand(4, 9)
    memory.after_update(Update(nn.Identity(), raw, targets, None, logits, experience=3))
    assert torch.equal(memory.rows.raw, raw)
    assert torch.equal(memory.rows.targets, targets)
    assert memory.rows.tasks.tolist() == [0] * 4
    assert memory.rows.experiences.tolist() == [3] * 4
    assert torch.equal(memory.rows.logits, logits)


def test_after_update_keeps_task_labels_where_there_are_some():
    memory = Memory(2)
    tasks = torch.tensor([1, 4])
    memory.after_update(Update(nn.Identity(), torch.zeros(2, 1), tasks, tasks, torch.zeros(2, 5), experience=0))
    assert memory.rows.tasks.tolist() == [1, 4]


# draws -------------------------------------------------------------------------------------------------------------


def test_draws_are_without_replacement_and_of_the_size_wanted():
    memory = offer(Memory(20), 0, 60)
    for n in (1, 7, 19, 20):
        drawn = numbers(memory.sample(n))
        assert len(set(drawn)) == len(drawn) == n
        assert set(drawn) <= set(numbers(memory.rows))


def test_a_draw_beyond_what_is_stored_gives_all_of_it():
    memory = offer(Memory(20), 0, 6)
    assert sorted(numbers(memory.sample(50))) == list(range(6))


def test_draws_differ_from_each_other_and_reach_every_row():
    memory = offer(Memory(20), 0, 20)
    drawn = [tuple(numbers(memory.sample(5))) for _ in range(40)]
    assert len(set(drawn)) > 30
    assert set().union(*drawn) == set(range(20))


def test_draws_are_copies():
    memory = offer(Memory(5), 0, 5)
    memory.sample(5).raw.fill_(99)
    assert numbers(memory.rows) == list(range(5))


@pytest.mark.parametrize("share", [0, 0.25])
@pytest.mark.parametrize("n", [0, 1, 4, 50])
@pytest.mark.parametrize("draws", [1, 2, 5])
def test_several_draws_at_once_are_single_ones_after_another(share, n, draws):
    one, other = (offer(Memory(20, held_out=share, keep_logits=True), 0, 60, width=3) for _ in range(2))
    together, singly = one.sample(n, draws=draws), [other.sample(n) for _ in range(draws)]
    assert len(together) == draws * min(n, 20 if share == 0 else 15)
    for name, column in together.items():
        assert torch.equal(column, torch.cat([getattr(rows, name) for rows in singly]))
    assert torch.equal(one.generator.get_state(), other.generator.get_state())


def test_a_draw_is_one_unless_several_are_wanted():
    memory = offer(Memory(20), 0, 20)
    assert len(memory.sample(5)) == len(memory.draw(5)) == 5


def test_an_empty_memory_has_nothing_to_draw():
    with pytest.raises(RuntimeError, match="the memory is empty"):
        Memory(5).sample(1)


# samples that are held out -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "stored", "slots"),
    [
        (0.5, 1, []),
        (0.5, 7, [1, 3, 5]),
        (0.5, 8, [1, 3, 5, 7]),
        (1 / 3, 9, [2, 5, 8]),
        (0.25, 3, []),
        (0.25, 4, [3]),
        (0.25, 10, [3, 7]),
        (0.1, 9, []),
        (0.1, 25, [9, 19]),
        (0, 25, []),
    ],
)
def test_every_nth_slot_is_held_out_and_all_others_are_drawn(share, stored, slots):
    memory = offer(Memory(25, held_out=share, keep_logits=True), 0, stored, width=2)
    held_out, others = memory.held_out(), [i for i in range(stored) if i not in slots]
    assert held_out is None if not slots else numbers(held_out) == slots
    for name, column in [] if held_out is None else held_out.items():
        assert torch.equal(column, getattr(memory.rows, name)[slots])
    for n in {1, len(others), 50}:
        drawn = numbers(memory.sample(n))
        assert len(set(drawn)) == len(drawn) == min(n, len(others))
        assert set(drawn) <= set(others)
    assert (len(memory), numbers(memory.rows)) == (stored, list(range(stored)))


def test_a_memory_that_is_empty_holds_nothing_out():
    assert Memory(5, held_out=0.5).held_out() is None
    assert offer(Memory(0, held_out=0.5), 0, 20).held_out() is None


def test_samples_held_out_are_copies():
    memory = offer(Memory(8, held_out=0.25), 0, 8)
    memory.held_out().raw.fill_(99)
    assert numbers(memory.rows) == list(range(8))


def test_draws_are_uniform_over_the_slots_that_are_not_held_out():
    """As those of a memory of the others alone: the same slots from the same generator."""
    memory, alone = offer(Memory(16, held_out=0.25), 0, 16), offer(Memory(12), 0, 12)
    memory.generator.set_state(alone.generator.get_state())
    others, draws = [i for i in range(16) if i % 4 != 3], 400
    drawn = numbers(memory.sample(3, draws=draws))
    assert drawn == [others[i] for i in numbers(alone.sample(3, draws=draws))]
    counts = np.bincount(drawn, minlength=16)
    assert not counts[3::4].any()
    assert chisquare(counts[others]).pvalue > 0.01


@POLICIES
def test_a_sample_that_is_held_out_was_never_drawn_and_will_not_be(policy):
    memory, drawn, held_out = Memory(12, policy=policy(), held_out=0.25), set(), set()
    for i in range(0, 300, 5):
        memory.add(numbered(i, i + 5))
        drawn |= set(numbers(memory.sample(5, draws=2)))
        if len(memory) == 12:
            assert numbers(memory.held_out()) == numbers(memory.rows)[3::4]
            held_out |= set(numbers(memory.held_out()))
    assert len(held_out) > 3
    assert len(drawn) > 9
    assert not drawn & held_out


@POLICIES
def test_a_restored_memory_holds_out_the_same_and_draws_the_same(policy):
    memory = offer(Memory(10, policy=policy(), held_out=0.25, keep_logits=True), 0, 40, width=3)
    twin = Memory(10, policy=policy(), held_out=0.25, keep_logits=True, seed=77)
    twin.load_state_dict(memory.state_dict())
    for a, b in zip(columns(memory.held_out()), columns(twin.held_out()), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(future(memory), future(twin), strict=True):
        assert torch.equal(a, b)
    assert numbers(memory.held_out()) == numbers(twin.held_out())


# earlier experiences alone ------------------------------------------------------------------------------------------


def ended(memory):
    memory.end(Ending(nn.Identity(), Classes()))
    return memory


@POLICIES
@pytest.mark.parametrize("share", [0, 0.25])
def test_samples_of_the_running_experience_wait_for_its_end(policy, share):
    memory, drawn = Memory(24, policy=policy(), earlier_only=True, held_out=share), set()
    for experience in range(4):
        for i in range(100 * experience, 100 * experience + 100, 5):
            memory.add(numbered(i, i + 5))
            now = numbers(memory.sample(24, draws=2))
            stored = [n for slot, n in enumerate(numbers(memory.rows)) if not share or slot % 4 != 3]
            assert set(now) == {n for n in stored if n < 100 * experience}
            assert len(now) == 2 * len(set(now))
            assert memory.can_draw == bool(now)
            drawn |= set(now)
        held_out = memory.held_out()
        ended(memory)
        assert memory.can_draw
        assert held_out is None or numbers(held_out) == numbers(memory.held_out())
    assert len(drawn) > 20


def test_a_memory_of_earlier_experiences_alone_needs_boundaries():
    assert Memory(5, earlier_only=True).needs_boundaries
    assert not Memory(5).needs_boundaries
    assert not ended(Memory(0, earlier_only=True)).can_draw


@pytest.mark.parametrize(("size", "earlier", "can_draw"), [(1, 1, True), (4, 1, False), (4, 2, True), (4, 0, False)])
def test_a_single_earlier_sample_is_not_drawn_from_a_memory_of_several(size, earlier, can_draw):
    memory = offer(ended(offer(Memory(size, earlier_only=True), 0, earlier)), earlier, size)
    assert (len(memory), memory.can_draw) == (size, can_draw)


def test_a_memory_that_is_restored_within_an_experience_draws_from_the_earlier_ones():
    memory, twin = (Memory(12, earlier_only=True, seed=seed) for seed in (0, 77))
    offer(ended(offer(memory, 0, 40)), 40, 60)
    twin.load_state_dict(memory.state_dict())
    assert 0 < len(memory.sample(12)) < 12
    twin.generator.set_state(memory.generator.get_state())
    for a, b in zip(future(memory), future(twin), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("saved", [True, False])
def test_state_of_a_memory_that_draws_from_other_experiences_is_refused(saved):
    state = offer(Memory(10, earlier_only=saved), 0, 20).state_dict()
    with pytest.raises(ConfigError, match=f"expected earlier_only={not saved}"):
        Memory(10, earlier_only=not saved).load_state_dict(state)


def test_a_state_of_before_there_were_waiting_samples_is_read():
    state = offer(Memory(10), 0, 20).state_dict()
    del state["waiting"]
    twin = Memory(10)
    twin.load_state_dict(state)
    assert len(twin) == 10


# whether all stored logits are known -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batches", "wanted"),
    [
        ([], True),
        ([(3, True)], True),
        ([(3, True), (3, True)], True),
        ([(3, False)], False),
        ([(3, True), (3, False)], False),
        ([(3, False), (3, True)], False),
        ([(3, True), (5, True)], False),
        ([(5, True), (3, True)], False),
        ([(3, True), (5, True), (5, True)], False),
    ],
)
def test_all_logits_are_known_while_every_batch_has_them_and_is_as_wide(batches, wanted):
    memory = Memory(50, keep_logits=True)
    for i, (width, known) in enumerate(batches):
        rows = numbered(4 * i, 4 * i + 4, width=width)
        if not known:
            rows.logits[2, 1] = torch.nan
        memory.add(rows)
    assert memory.all_logits_known is wanted
    assert not wanted or not batches or memory.rows.logits.isfinite().all()
    for before in (True, False):
        twin = Memory(50, keep_logits=True)
        twin.add(numbered(0, 4, width=3))
        if not before:
            twin.add(numbered(4, 8, width=5))
        assert twin.all_logits_known is before
        twin.load_state_dict(memory.state_dict())
        assert twin.all_logits_known is wanted


@pytest.mark.parametrize("all_active", [True, False])
def test_after_update_takes_the_heads_word_for_it(all_active):
    memory, labels = Memory(4, keep_logits=True), torch.tensor([0, 1])
    update = Update(
        nn.Identity(), torch.zeros(2, 1), labels, None, torch.zeros(2, 5), experience=0, all_active=all_active
    )
    memory.after_update(update)
    assert memory.all_logits_known is all_active


def test_after_update_logits_are_not_known_unless_that_is_said():
    memory = Memory(4, keep_logits=True)
    memory.after_update(Update(nn.Identity(), torch.zeros(2, 1), torch.zeros(2).long(), None, torch.zeros(2, 5), 0))
    assert not memory.all_logits_known


def test_a_batch_of_which_nothing_enters_says_nothing_of_the_logits():
    memory = offer(Memory(1, keep_logits=True), 0, 5000, batch=5000, width=3)
    held = memory.rows.logits.clone()
    rows = numbered(5000, 5001, width=3)
    rows.logits.fill_(torch.nan)
    memory.add(rows)
    assert torch.equal(memory.rows.logits, held)
    assert memory.all_logits_known


# randomness and state ----------------------------------------------------------------------------------------------


@POLICIES
def test_global_random_states_are_left_alone(policy):
    before = torch.get_rng_state(), pickle.dumps(np.random.get_state()), random.getstate()  # noqa: NPY002
    offer(Memory(10, policy=policy()), 0, 60).sample(5)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert pickle.dumps(np.random.get_state()) == before[1]  # noqa: NPY002
    assert random.getstate() == before[2]


@POLICIES
def test_the_seed_alone_decides_what_is_kept_and_drawn(policy):
    def kept_and_drawn(seed):
        memory = offer(Memory(10, policy=policy(), seed=seed), 0, 60)
        return numbers(memory.rows), numbers(memory.sample(5))

    torch.manual_seed(1)
    first = kept_and_drawn(seed=4)
    torch.manual_seed(2)
    assert kept_and_drawn(seed=4) == first
    assert kept_and_drawn(seed=5) != first


def future(memory):
    """What a memory holds and draws while its stream goes on."""
    seen = [memory.sample(4)]
    for i in range(40, 80, 8):
        memory.add(numbered(i, i + 8, width=3))
        seen += [memory.sample(4), memory.rows.take(torch.arange(len(memory)))]
    return [column for rows in seen for column in columns(rows)]


def restored(state, policy):
    memory = Memory(10, policy=policy(), keep_logits="logits" in state["columns"], seed=77)
    memory.load_state_dict(state)
    return memory


def by_state(memory, policy):
    return restored(memory.state_dict(), policy)


def by_file(memory, policy):
    file = io.BytesIO()
    torch.save(memory.state_dict(), file)
    file.seek(0)
    return restored(torch.load(file, weights_only=True), policy)


def by_pickle(memory, policy):
    return pickle.loads(pickle.dumps(memory))


@POLICIES
@pytest.mark.parametrize("copied", [by_state, by_file, by_pickle])
@pytest.mark.parametrize("offered", [6, 40], ids=["filling", "full"])
def test_a_restored_memory_lives_on_bit_for_bit_as_the_first(policy, copied, offered):
    memory = offer(Memory(10, policy=policy(), keep_logits=True), 0, offered, width=3)
    twin = copied(memory, policy)
    assert len(twin) == len(memory)
    for a, b in zip(future(memory), future(twin), strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)


@POLICIES
def test_state_is_a_copy_that_later_samples_do_not_reach(policy):
    memory = offer(Memory(10, policy=policy()), 0, 40)
    state, kept = memory.state_dict(), numbers(memory.rows)
    offer(memory, 40, 400)
    offer(restored(state, policy), 400, 800)  # nor does a restored memory write into the state
    assert numbers(restored(state, policy).rows) == kept


@POLICIES
@pytest.mark.parametrize("offered", [0, 6, 40])
def test_state_is_plain(policy, offered):
    assert_plain(offer(Memory(10, policy=policy(), keep_logits=True), 0, offered, width=3).state_dict())


def test_state_of_a_memory_that_holds_out_other_slots_is_refused():
    state = offer(Memory(10, held_out=0.25), 0, 20).state_dict()
    with pytest.raises(ConfigError, match="expected slots held out 0 apart; received 4 apart"):
        Memory(10).load_state_dict(state)


def test_state_of_an_empty_memory_restores_an_empty_one():
    memory = offer(Memory(5), 0, 20)
    memory.load_state_dict(Memory(5).state_dict())
    assert len(memory) == 0
    assert memory.nbytes() == {}


# what is refused ---------------------------------------------------------------------------------------------------


def test_the_seed_is_0_unless_given():
    assert Memory(5).generator.initial_seed() == 0


def test_a_negative_size_is_refused():
    with pytest.raises(ConfigError, match="memory size: expected a whole number from 0; received -1") as caught:
        Memory(-1)
    assert isinstance(caught.value, CkdError)


@pytest.mark.parametrize("size", [True, 2.5, "9", None])
def test_a_size_that_is_no_whole_number_is_refused(size):
    with pytest.raises(ConfigError, match="memory size: expected a whole number from 0"):
        Memory(size)


def test_a_policy_that_admits_nothing_is_refused():
    with pytest.raises(ConfigError, match="policy of the memory: expected a Policy"):
        Memory(9, policy=object())


def test_it_needs_one_label_where_its_policy_or_its_kind_does():
    class Mine:
        def admit(self, *_):
            raise NotImplementedError

    assert Memory(9).needs_one_label is False
    assert Memory(9, policy=Mine()).needs_one_label is False
    assert Memory(9, policy=Balanced()).needs_one_label is True
    assert BoundaryMemory(9).needs_one_label is True


def test_its_device_is_the_streams_unless_given():
    assert Memory(9).device is None
    assert Memory(9, device="cpu").device == torch.device("cpu")


@pytest.mark.parametrize("share", [-0.1, 0.51, 1, float("nan"), float("inf")])
def test_a_share_held_out_that_is_not_from_0_to_a_half_is_refused(share):
    with pytest.raises(ConfigError, match=r"memory that is held out: expected from 0 to 0\.5"):
        Memory(10, held_out=share)


def test_state_of_a_memory_of_another_size_is_refused():
    state = offer(Memory(5), 0, 20).state_dict()
    with pytest.raises(ConfigError, match="expected 6 rows; received 5 rows"):
        Memory(6).load_state_dict(state)


ANOTHER_KIND = [
    pytest.param(torch.zeros(3, 1), id="dtype"),
    pytest.param(torch.zeros(3, 2, dtype=torch.int64), id="shape"),
    pytest.param(torch.zeros(3, 1, 1, dtype=torch.int64), id="rank"),
]


@pytest.mark.parametrize("raw", ANOTHER_KIND)
def test_samples_of_another_kind_are_refused(raw):
    memory, odd = offer(Memory(10), 0, 4), numbered(4, 7)
    odd.raw = raw
    with pytest.raises(DataError, match=r"expected rows of \(1,\) torch.int64"):
        memory.add(odd)


def odd_rows(start, stop):
    rows = numbered(start, stop)
    rows.raw = rows.raw.float()
    return rows


@POLICIES
def test_a_refused_batch_leaves_the_memory_as_it_was(policy):
    memory, untouched = (offer(Memory(10, policy=policy()), 0, 4) for _ in range(2))
    with pytest.raises(DataError):
        memory.add(odd_rows(4, 7))
    offer(memory, 4, 9)
    offer(untouched, 4, 9)
    assert numbers(memory.rows) == numbers(untouched.rows)


def test_samples_of_another_kind_are_refused_even_if_none_would_enter():
    memory = offer(Memory(1), 0, 5000, batch=5000)
    with pytest.raises(DataError):
        memory.add(odd_rows(5000, 5001))


def test_samples_without_logits_are_refused_by_a_memory_that_keeps_them():
    memory = offer(Memory(10, keep_logits=True), 0, 4, width=3)
    with pytest.raises(DataError):
        memory.add(numbered(4, 7))


@pytest.mark.parametrize(("shape", "axis"), [((2, 3, 4), -1), ((2, 4, 3, 3), 1)])
def test_a_head_that_grows_widens_logits_of_many_places_along_their_classes(shape, axis):
    memory = Memory(10, keep_logits=True)
    places = [size for i, size in enumerate(shape) if i not in (0, axis % len(shape))]
    wider = list(shape)
    wider[axis] += 2
    for logits in (torch.zeros(shape), torch.ones(wider)):
        n, labels = len(logits), torch.zeros(len(logits), *places, dtype=torch.int64)
        zeros = torch.zeros(n, dtype=torch.int64)
        memory.add(Rows(torch.zeros(n, 5), labels, zeros, zeros, logits))
    stored = memory.rows.logits
    assert stored.shape[1:] == torch.Size(wider[1:])
    old, new = stored[:2].split([4, 2], axis)
    assert (old == 0).all()
    assert new.isnan().all()
    assert not memory.all_logits_known


def test_after_update_leaves_logits_out_of_a_memory_that_keeps_none():
    memory = Memory(4)
    memory.after_update(
        Update(nn.Identity(), torch.zeros(2, 1), torch.tensor([0, 1]), None, torch.rand(2, 2), experience=0)
    )
    assert memory.rows.logits is None


def test_a_memory_beyond_all_bounds_is_refused_with_its_size():
    with pytest.raises(ConfigError, match=r"received 10{15} samples of 32 bytes.*smaller memory"):
        offer(Memory(10**15), 0, 5)
