"""RefreshedMemory: logits come when an experience ends. Against the formulas, one number at a time."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from shared import assert_plain, classes_in
from torch import nn

from ckd.classes import ClassSet
from ckd.errors import ConfigError
from ckd.memory import Balanced, RefreshedMemory, Reservoir, Rows, implanted
from ckd.part import Ending, Update

NAN = float("nan")
IMPLANT = pytest.mark.parametrize("implant", [None, 0.85])


def rows(labels, experience, *, width=6, tasks=None):
    """Rows with these labels, of random numbers, and random logits from when they were seen."""
    generator = torch.Generator().manual_seed(experience)
    raw, logits = (torch.randn(len(labels), n, generator=generator, dtype=torch.float64) for n in (3, width))
    targets = torch.tensor(labels)
    return Rows(raw, targets, 0 * targets if tasks is None else torch.tensor(tasks), 0 * targets + experience, logits)


def linear(seed, width=6):
    """A network from 3 numbers, the same for the same seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(3, width, dtype=torch.float64)


def filled(*batches, size=50, implant=None, **settings):
    memory = RefreshedMemory(size, implant=implant, keep_logits=True, **settings)
    for batch in batches:
        memory.add(batch)
    return memory


def end(memory, model, *experiences, per_task=False, **given):
    """The last of these experiences ends, each given by its classes."""
    memory.end(Ending(model, classes_in(*experiences, per_task=per_task), len(experiences) - 1, **given))


def pairs(n):
    """Classes 0 and 1, 2 and 3, and so on, in `n` experiences."""
    return [[2 * i, 2 * i + 1] for i in range(n)]


def of_experience(memory, experience):
    """Inputs, labels and stored logits of the rows from one experience, as arrays."""
    mine = memory.rows.experiences == experience
    return tuple(column[mine].numpy() for column in (memory.rows.raw, memory.rows.targets, memory.rows.logits))


def logits_of(model, raw):
    return raw @ model.weight.detach().numpy().T + model.bias.detach().numpy()


def by_hand(stored, today, label, where, gamma):
    """One row: today's logits at `where`, scaled if the largest is above the stored logit of the label."""
    stored, largest, truth = list(stored), max(today[c] for c in where), stored[label]
    factor = min(1.0, max(0.0, gamma * truth / largest)) if largest > truth else 1.0
    for c in where:
        stored[c] = factor * today[c]
    return stored


def each_by_hand(stored, today, labels, where, gamma):
    return [by_hand(*row, where, gamma) for row in zip(stored, today, labels, strict=True)]


def own_by_hand(today, labels, new, earlier, gamma):
    """Rows of the experience that ends: today's, those of a new class bounded about earlier ones unless γ is None."""
    met = [gamma is not None and label in new for label in labels]
    return [by_hand(z, z, y, earlier, gamma) if m else z for z, y, m in zip(today, labels, met, strict=True)]


def assert_same(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))


# when logits come --------------------------------------------------------------------------------------------------


@IMPLANT
def test_there_are_no_logits_until_the_experience_ends(implant):
    memory = filled(rows([0, 1, 0], 0), rows([1, 1], 0), implant=implant)
    assert memory.rows.logits.shape == (5, 6)
    assert memory.rows.logits.isnan().all()


def test_samples_are_drawn_once_they_have_logits():
    memory = filled(rows([0, 1], 0))
    assert not memory.can_draw
    assert len(memory.sample(3)) == 0
    end(memory, linear(0), [0, 1])
    memory.add(rows([2, 3], 1))
    assert memory.can_draw
    drawn = by_state(memory, filled()).sample(3, draws=2)
    assert sorted(drawn.targets.tolist()) == [0, 0, 1, 1]
    assert drawn.logits[:, :2].isfinite().all()


def test_all_logits_are_never_known_even_if_every_unit_of_the_stream_is_active():
    memory, given = filled(), rows([0, 1], 0)
    memory.add(given)
    assert not memory.all_logits_known
    end(memory, linear(0), [0, 1])
    assert not memory.all_logits_known
    memory = filled()
    memory.after_update(Update(nn.Identity(), given.raw, given.targets, None, given.logits, 0, all_active=True))
    assert not memory.all_logits_known


def test_after_update_stores_no_logits_either():
    memory = RefreshedMemory(4, keep_logits=True)
    raw, targets = torch.rand(2, 3), torch.tensor([1, 0])
    memory.after_update(Update(nn.Identity(), raw, targets, None, torch.rand(2, 5), experience=0))
    assert torch.equal(memory.rows.raw, raw)
    assert memory.rows.logits.shape == (2, 5)
    assert memory.rows.logits.isnan().all()


def test_the_logits_given_with_the_samples_are_left_alone():
    given = rows([0, 1], 0)
    filled(given)
    assert given.logits.isfinite().all()


@IMPLANT
def test_afterwards_they_are_the_models_for_every_unit_or_with_implant_for_the_classes_seen(implant):
    memory, model = filled(rows([0, 2, 2, 0], 0), implant=implant), linear(0)
    end(memory, model, [0, 2])
    raw, _, found = of_experience(memory, 0)
    wanted = logits_of(model, raw)
    wanted[:, [] if implant is None else [1, 3, 4, 5]] = NAN
    assert_same(found, wanted)


@IMPLANT
def test_units_that_are_not_active_get_no_logits(implant):
    """Four units of six are active, the classes of two of them were seen."""
    memory, model = filled(rows([0, 2, 2, 0], 0), implant=implant), linear(0)
    end(memory, model, [0, 2], active=ClassSet({0: frozenset({0, 1, 2, 4})}))
    raw, _, found = of_experience(memory, 0)
    wanted = logits_of(model, raw)
    wanted[:, [3, 5] if implant is None else [1, 3, 4, 5]] = NAN
    assert_same(found, wanted)


def test_units_that_become_active_later_give_older_samples_no_logits():
    memory = filled(rows([0, 1, 0], 0))
    end(memory, linear(0), [0, 1], active=ClassSet({0: frozenset(range(2))}))
    end(memory, linear(1), [0, 1], [2, 3], active=ClassSet({0: frozenset(range(4))}))
    raw, _, found = of_experience(memory, 0)
    wanted = logits_of(linear(0), raw)
    wanted[:, 2:] = NAN
    assert_same(found, wanted)


@IMPLANT
def test_samples_of_the_next_experience_wait_for_its_end(implant):
    memory = filled(rows([0, 1, 0], 0), implant=implant)
    end(memory, linear(0), [0, 1])
    before = of_experience(memory, 0)[2]
    memory.add(rows([2, 3], 1))
    assert np.isnan(of_experience(memory, 1)[2]).all()
    np.testing.assert_array_equal(of_experience(memory, 0)[2], before)
    end(memory, linear(1), [0, 1], [2, 3])
    raw, labels, found = of_experience(memory, 1)
    wanted = np.array(own_by_hand(logits_of(linear(1), raw), labels, [2, 3], [0, 1], implant))
    wanted[:, [] if implant is None else [4, 5]] = NAN
    assert_same(found, wanted)


def test_older_logits_stay_bit_for_bit_without_implanting():
    memory = filled(rows([0, 1, 0], 0))
    end(memory, linear(0), [0, 1])
    before = of_experience(memory, 0)[2]
    for experience in (1, 2):
        memory.add(rows([2 * experience], experience))
        end(memory, linear(experience), *pairs(experience + 1))
        np.testing.assert_array_equal(of_experience(memory, 0)[2], before)


def test_older_samples_get_the_logits_of_new_classes_and_no_others():
    """Class 1 comes again with the second experience, class 0 with the third: neither gets new logits.

    Nor are their new samples bounded; those of a class that is new are, for the classes before it.
    """
    memory = filled(rows([0, 1] * 10, 0), implant=0.85)
    end(memory, linear(0), [0, 1])
    before = of_experience(memory, 0)[2]
    memory.add(rows([1, 2, 3] * 5, 1))
    end(memory, linear(1), [0, 1], [1, 2, 3])
    raw, labels, found = of_experience(memory, 0)
    once = each_by_hand(before, logits_of(linear(1), raw), labels, [2, 3], 0.85)
    assert_same(found, once)
    np.testing.assert_array_equal(found[:, :2], before[:, :2])
    raw, labels, found = of_experience(memory, 1)
    assert_same(found[:, :4], own_by_hand(logits_of(linear(1), raw)[:, :4], labels, [2, 3], [0, 1], 0.85))
    memory.add(rows([0, 4], 2))
    before = of_experience(memory, 1)[2]
    end(memory, linear(2), [0, 1], [1, 2, 3], [0, 4])
    raw, labels, found = of_experience(memory, 0)
    assert_same(found, each_by_hand(once, logits_of(linear(2), raw), labels, [4], 0.85))
    raw, labels, found = of_experience(memory, 1)
    assert_same(found, each_by_hand(before, logits_of(linear(2), raw), labels, [4], 0.85))
    raw, labels, found = of_experience(memory, 2)
    assert_same(found[:, :5], own_by_hand(logits_of(linear(2), raw)[:, :5], labels, [4], [0, 1, 2, 3], 0.85))
    assert memory.rows.logits[:, 5].isnan().all()


AFTERWARDS = {  # label and logits of a sample when its class was met, and what is stored of them with γ = 0.75
    "an earlier class leads: 0.75 · 4 / 8": (2, [8, 2, 4, 9], [3, 0.75, 4, 9]),
    "the smaller negative": (3, [4, -4, 1, 2], [1.5, -1.5, 1, 2]),
    "as high as the true class": (3, [1, 3, 9, 3], [1, 3, 9, 3]),
    "below it": (2, [1, 2, 3, 0], [1, 2, 3, 0]),
    "a true logit of zero: nothing": (2, [5, -1, 0, 7], [0, 0, 0, 7]),
    "a negative one, above zero: nothing": (3, [8, -8, 5, -2], [0, 0, 5, -2]),
    "a negative one, below zero: 3 is cut to 1": (2, [-1, -8, -3, 0], [-1, -8, -3, 0]),
    "came again, and is left alone": (1, [8, 4, 9, 9], [8, 4, 9, 9]),
}


@pytest.mark.parametrize("case", AFTERWARDS)
def test_own_samples_of_a_new_class_are_bounded_for_earlier_ones(case):
    """Classes 0 and 1, then 1, 2 and 3, then 4; the raw samples are their own logits."""

    def raw_rows(raw, label, experience):
        label, other = torch.tensor([label]), torch.tensor([0])
        raw = torch.tensor([raw], dtype=torch.float64)
        return Rows(raw, label, other, other + experience, torch.zeros(1, 5, dtype=torch.float64))

    label, own, wanted = AFTERWARDS[case]
    bounded, plain = filled(implant=0.75), filled()
    for memory in (bounded, plain):
        memory.add(raw_rows([4, 6, 8, 2, 2], 0, 0))
        end(memory, nn.Identity(), [0, 1])
        first = [4, 6, 8, 2, 2] if memory is plain else [4, 6, NAN, NAN, NAN]  # 1 is not an earlier one
        np.testing.assert_array_equal(of_experience(memory, 0)[2], [first])
        memory.add(raw_rows([*own, 9], label, 1))
        end(memory, nn.Identity(), [0, 1], [1, 2, 3])
    np.testing.assert_array_equal(of_experience(plain, 1)[2], [[*own, 9]])
    np.testing.assert_array_equal(of_experience(bounded, 1)[2], [[*wanted, NAN]])
    np.testing.assert_array_equal(of_experience(bounded, 0)[2], [[4, 6, 3, 0.75, NAN]])
    end(bounded, nn.Identity(), [0, 1], [1, 2, 3], [4])
    assert_same(of_experience(bounded, 1)[2], [[*wanted, max(0, 0.75 * own[label])]])  # once met, bounded no further
    np.testing.assert_array_equal(of_experience(bounded, 0)[2], [[4, 6, 3, 0.75, 2]])


@IMPLANT
def test_an_experience_that_brings_nothing_new_changes_no_older_logit(implant):
    memory = filled(rows([0, 1, 0], 0), implant=implant)
    end(memory, linear(0), [0, 1])
    before = of_experience(memory, 0)[2]
    memory.add(rows([1, 0], 1))
    end(memory, linear(1), [0, 1], [1, 0])
    np.testing.assert_array_equal(of_experience(memory, 0)[2], before)
    assert_same(of_experience(memory, 1)[2][:, :2], logits_of(linear(1), of_experience(memory, 1)[0])[:, :2])


def test_with_a_shared_head_a_class_under_another_task_label_is_not_implanted():
    memory = filled(rows([0, 1, 0], 0), implant=0.85)
    end(memory, linear(0), {0: [0, 1]})
    before = of_experience(memory, 0)[2]
    end(memory, linear(1), {0: [0, 1]}, {1: [0, 1]})
    np.testing.assert_array_equal(of_experience(memory, 0)[2], before)


# the head ----------------------------------------------------------------------------------------------------------


@IMPLANT
@pytest.mark.parametrize("newcomers", [True, False], ids=["with new samples", "without"])
def test_a_head_may_grow_between_experiences(implant, newcomers):
    memory = filled(rows([0, 1, 1], 0, width=2), implant=implant)
    end(memory, linear(0, 2), [0, 1])
    first = np.pad(of_experience(memory, 0)[2], ((0, 0), (0, 2)), constant_values=NAN)
    if newcomers:
        memory.add(rows([2, 3], 1, width=4))
        assert_same(of_experience(memory, 0)[2], first)
    end(memory, linear(1, 4), [0, 1], [2, 3])
    raw, labels, found = of_experience(memory, 0)
    assert_same(
        found, first if implant is None else each_by_hand(first, logits_of(linear(1, 4), raw), labels, [2, 3], implant)
    )
    if newcomers:
        raw, labels, found = of_experience(memory, 1)
        assert_same(found, own_by_hand(logits_of(linear(1, 4), raw), labels, [2, 3], [0, 1], implant))


def test_of_a_head_all_of_whose_classes_were_seen_every_logit_is_stored():
    memory, model = filled(rows([0, 1, 1], 0, width=2)), linear(0, 2)
    end(memory, model, [0, 1])
    assert_same(memory.rows.logits.numpy(), logits_of(model, memory.rows.raw.numpy()))


class ByTask(nn.Module):
    """Its logits are shifted by ten times the task, as another head's."""

    def __init__(self, seed):
        super().__init__()
        self.layer = linear(seed)

    def forward(self, inputs, tasks):
        return self.layer(inputs) + 10 * tasks[:, None]


@IMPLANT
def test_with_heads_per_task_a_sample_gets_the_logits_of_the_classes_of_its_task(implant):
    """Task 0 has classes 0 and 1, and gets class 2 later, with 1 again; task 1 has classes 0 and 3.

    Without implanting every logit is stored, as all units are active.
    """
    memory = filled(rows([0, 1, 0, 1], 0), implant=implant)
    end(memory, ByTask(0), {0: [0, 1]}, per_task=True)
    memory.add(rows([0, 3, 2, 1], 1, tasks=[1, 1, 0, 0]))
    first = of_experience(memory, 0)[2]
    end(memory, ByTask(1), {0: [0, 1]}, {0: [1, 2], 1: [0, 3]}, per_task=True)
    raw, labels, found = of_experience(memory, 0)
    later = logits_of(linear(1), raw)
    assert_same(found, first if implant is None else each_by_hand(first, later, labels, [2], implant))
    raw, labels, found = of_experience(memory, 1)
    wanted = logits_of(linear(1), raw) + np.array([[10], [10], [0], [0]])
    if implant is not None:
        wanted[:2, [1, 2, 4, 5]] = wanted[2:, 3:] = NAN
    wanted[2:] = own_by_hand(wanted[2:], labels[2:], [2], [0, 1], implant)  # in task 1 nothing is earlier
    assert_same(found, wanted)


@IMPLANT
def test_with_heads_per_task_units_that_are_not_active_in_the_head_of_the_task_give_no_logits(implant):
    memory = filled(rows([0, 1, 0, 3], 0, tasks=[0, 0, 1, 1]), implant=implant)
    active = ClassSet({0: frozenset({0, 1, 2, 5}), 1: frozenset({0, 3, 4})}, per_task=True)
    end(memory, ByTask(0), {0: [0, 1], 1: [0, 3]}, per_task=True, active=active)
    raw, _, found = of_experience(memory, 0)
    wanted = logits_of(linear(0), raw) + np.array([[0], [0], [10], [10]])
    wanted[:2, [3, 4] if implant is None else [2, 3, 4, 5]] = NAN
    wanted[2:, [1, 2, 5] if implant is None else [1, 2, 4, 5]] = NAN
    assert_same(found, wanted)


def test_stored_samples_are_prepared_for_the_model():
    memory = filled(rows([0, 1], 0))
    end(memory, linear(0), range(6), prepare=lambda raw: 2 * raw)
    assert_same(memory.rows.logits.numpy(), logits_of(linear(0), 2 * memory.rows.raw.numpy()))


# the model ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_the_model_computes_in_eval_mode_and_is_left_in_its_own(training):
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 6)).double()
    model.train(training)[2].train(not training)  # a part may have a mode of its own
    modes = [m.training for m in model.modules()]
    state = copy.deepcopy(model.state_dict())
    memory = filled(rows([0, 1] * 10, 0), implant=0.85)
    expected = copy.deepcopy(model).eval()(memory.rows.raw)
    end(memory, model, range(6))
    torch.testing.assert_close(memory.rows.logits, expected.detach())
    assert not memory.rows.logits.requires_grad
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


@IMPLANT
def test_the_other_columns_stay_as_they_were(implant):
    memory = filled(rows([0, 1, 0], 0), implant=implant)
    before = memory.rows.take(torch.arange(3))
    end(memory, linear(0), [0, 1])
    for name in ("raw", "targets", "tasks", "experiences"):
        assert torch.equal(getattr(memory.rows, name), getattr(before, name))


def test_logits_are_stored_in_the_precision_of_the_stream():
    single = rows([0, 1], 0)
    single.logits = single.logits.float()
    memory = filled(single)
    end(memory, linear(0), [0, 1])
    assert memory.rows.logits.dtype == torch.float32
    assert memory.nbytes()["logits"] == 50 * 6 * 4


# an empty memory ---------------------------------------------------------------------------------------------------


@IMPLANT
def test_a_memory_of_size_zero_ends_its_experiences_too(implant):
    memory = filled(rows([0, 1], 0), size=0, implant=implant)
    end(memory, linear(0), [0, 1])
    assert len(memory) == 0
    assert memory.nbytes() == {}


@IMPLANT
def test_an_experience_that_left_nothing_in_memory_counts_all_the_same(implant):
    memory = filled(implant=implant)
    end(memory, linear(0), [0, 1])
    memory.add(rows([2, 3], 1))
    end(memory, linear(1), [0, 1], [2, 3])
    raw, labels, found = of_experience(memory, 1)
    assert_same(found[:, :4], own_by_hand(logits_of(linear(1), raw)[:, :4], labels, [2, 3], [0, 1], implant))


def test_a_memory_that_keeps_no_logits_ends_its_experiences_too():
    memory = RefreshedMemory(5, implant=0.85)
    memory.add(rows([0, 1], 0))
    end(memory, linear(0), [0, 1])
    assert len(memory) == 2
    assert memory.rows.logits is None


# state -------------------------------------------------------------------------------------------------------------


def by_state(memory, blank):
    blank.load_state_dict(memory.state_dict())
    return blank


def by_file(memory, blank, weights_only=False):
    file = io.BytesIO()
    torch.save(memory.state_dict(), file)
    file.seek(0)
    blank.load_state_dict(torch.load(file, weights_only=weights_only))
    return blank


def by_pickle(memory, blank):
    return pickle.loads(pickle.dumps(memory))


def future(memory, experience):
    """What a memory holds and draws while two more experiences pass."""
    found = [memory.sample(4)]
    for e in (experience, experience + 1):
        memory.add(rows([2 * e, 2 * e + 1] * 4, e, width=8))
        found += [memory.sample(4)]
        end(memory, linear(e, 8), *pairs(e + 1))
        found += [memory.sample(4), memory.rows.take(torch.arange(len(memory)))]
    return [column.numpy() for rows in found for _, column in rows.items()]


@IMPLANT
@pytest.mark.parametrize("policy", [Reservoir, Balanced])
@pytest.mark.parametrize("copied", [by_state, by_file, by_pickle])
@pytest.mark.parametrize("ended", [0, 1, 2])
def test_a_restored_memory_lives_on_bit_for_bit_as_the_first(implant, policy, copied, ended):
    memory = filled(rows([0, 1] * 4, 0, width=8), size=10, implant=implant, policy=policy())
    for e in range(ended):
        end(memory, linear(e, 8), *pairs(e + 1))
        memory.add(rows([2 * e + 2, 2 * e + 3] * 3, e + 1, width=8))
    twin = copied(memory, filled(size=10, implant=implant, policy=policy(), seed=77))
    for mine, its in zip(future(memory, ended), future(twin, ended), strict=True):
        assert mine.dtype == its.dtype
        np.testing.assert_array_equal(mine, its)


def test_its_state_loads_with_weights_only_as_that_of_any_memory():
    memory = filled(rows([0, 1], 0))
    end(memory, linear(0), [0, 1])
    assert_plain(memory.state_dict())
    by_file(memory, filled(), weights_only=True)


def test_state_is_a_copy_that_later_experiences_do_not_reach():
    memory = filled(rows([0, 1], 0), implant=0.85)
    end(memory, linear(0), [0, 1])
    state, before = memory.state_dict(), memory.rows.logits.clone()
    end(memory, linear(1), [0, 1], [2, 3])
    by_restored = filled(implant=0.85)
    by_restored.load_state_dict(state)
    np.testing.assert_array_equal(by_restored.rows.logits, before)


# implanting --------------------------------------------------------------------------------------------------------

LATER = torch.tensor([False, False, True, True])
WORKED = {
    "below the true logit": ([4, 1], [9, 9, 3, -1], 0, [3, -1]),
    "equal to it": ([4, 1], [9, 9, 4, -1], 0, [4, -1]),
    "above it: 0.75 · 4 / 8": ([4, 1], [9, 9, 8, 2], 0, [3, 0.75]),
    "above it, the smaller negative": ([1, 4], [9, 9, 8, -8], 1, [3, -3]),
    "a true logit of zero: nothing": ([0, 1], [9, 9, 8, 2], 0, [0, 0]),
    "a negative one, above zero: nothing": ([-2, -5], [9, 9, 3, 1], 0, [0, 0]),
    "a negative one, below zero: 3 is cut to 1": ([-4, -5], [9, 9, -1, -8], 0, [-1, -8]),
    "a negative one, above the largest": ([-1, -5], [9, 9, -3, -4], 0, [-3, -4]),
}


@pytest.mark.parametrize("case", WORKED)
def test_worked_examples_of_the_update(case):
    known, today, label, wanted = WORKED[case]
    stored = torch.tensor([[*known, NAN, NAN]], dtype=torch.float64)
    found = implanted(stored, torch.tensor([today], dtype=torch.float64), torch.tensor([label]), LATER, 0.75)
    assert found.tolist() == [[*known, *wanted]]


def tables(n=200, width=6):
    """Stored logits, today's, labels and where to implant: never at the label."""
    generator = torch.Generator().manual_seed(0)
    stored, today = 3 * torch.randn(2, n, width, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (n,), generator=generator)
    where = torch.rand(n, width, generator=generator) < 0.5
    where[:, :3] = False
    return stored.masked_fill(where, NAN), today, labels, where


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.85, 1.0])
def test_every_row_is_the_formulas(gamma):
    stored, today, labels, where = tables()
    found = implanted(stored, today, labels, where, gamma).numpy()
    for i, row in enumerate(found):
        chosen = where[i].nonzero()[:, 0].tolist()
        kept, label = stored[i].tolist(), int(labels[i])
        assert_same(row, by_hand(kept, today[i].tolist(), label, chosen, gamma) if chosen else np.array(kept))


def test_a_positive_true_logit_keeps_the_lead_over_what_is_implanted():
    stored, today, labels, where = tables()
    found = implanted(stored, today, labels, where, 0.85)
    truth = stored.gather(1, labels[:, None])
    positive = (truth > 0)[:, 0] & where.any(1)
    assert positive.sum() > 50
    assert (found <= truth)[positive][where[positive]].all()


def test_nothing_is_implanted_outside_where_and_the_arguments_stay():
    stored, today, labels, where = tables()
    before = stored.clone(), today.clone()
    found = implanted(stored, today, labels, where, 0.85)
    np.testing.assert_array_equal(found[~where], stored[~where])
    np.testing.assert_array_equal(stored, before[0])
    assert torch.equal(today, before[1])
    nowhere = torch.zeros(6, dtype=torch.bool)
    np.testing.assert_array_equal(implanted(stored, today, labels, nowhere, 0.85), stored)


# what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("implant", [-0.1, 1.1, NAN, float("inf")])
def test_a_gamma_outside_0_to_1_is_refused(implant):
    with pytest.raises(ConfigError, match="implant: expected a number from 0 to 1"):
        RefreshedMemory(5, implant=implant)


def test_it_refuses_what_a_memory_refuses():
    with pytest.raises(ConfigError, match="memory size"):
        RefreshedMemory(-1)
    with pytest.raises(ConfigError, match="expected 50 rows; received 10 rows"):
        filled().load_state_dict(filled(rows([0], 0), size=10).state_dict())


@pytest.mark.parametrize("implant", [0, 1])
def test_a_gamma_of_0_or_1_is_taken(implant):
    assert RefreshedMemory(5, implant=implant).implant == implant
