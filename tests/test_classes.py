"""Class bookkeeping: by index, not by width."""

import json
import pickle

import pytest
import torch
from shared import assert_plain, classes_in

from ckd.classes import Classes, ClassSet

CPU = torch.device("cpu")


def of(**by_task):
    """of(t0={1, 2}, t3={4}): the classes by task label."""
    return {int(task[1:]): frozenset(classes) for task, classes in by_task.items()}


def mask(classes, width, tasks=None):
    found = classes.mask(width, None if tasks is None else torch.tensor(tasks), CPU)
    return None if found is None else found.int().tolist()


def test_indices_are_those_of_all_tasks_in_order():
    classes = ClassSet(of(t3={7, 0}, t1={2, 7}))
    assert classes.indices == [0, 2, 7]
    assert classes.tasks == [1, 3]
    assert len(classes) == 3


def test_a_shared_head_has_one_mask_for_every_sample():
    classes = ClassSet(of(t0={0, 3}, t1={4}))
    assert mask(classes, 6) == [1, 0, 0, 1, 1, 0]
    assert mask(classes, 6, tasks=[0, 1, 1]) == [1, 0, 0, 1, 1, 0]


@pytest.mark.parametrize("width", [4, 7])
def test_a_mask_is_as_wide_as_the_head(width):
    found = ClassSet(of(t0={1, 2})).mask(width, None, CPU)
    assert found.shape == (width,)
    assert found.dtype == torch.bool


def test_there_is_no_mask_when_every_unit_is_meant():
    classes = ClassSet(of(t0={0, 1}, t1={2}))
    assert mask(classes, 3) is None
    assert mask(classes, 4) == [1, 1, 1, 0]


def test_classes_beyond_a_narrow_head_are_left_out():
    assert mask(ClassSet(of(t0={0, 9})), 4) == [1, 0, 0, 0]


def test_as_many_classes_as_units_need_not_be_all_units():
    assert mask(ClassSet(of(t0={0, 8, 9})), 3) == [1, 0, 0]


def test_an_empty_set_masks_everything_out():
    assert mask(ClassSet(), 3) == [0, 0, 0]
    assert len(ClassSet()) == 0
    assert ClassSet().indices == ClassSet().tasks == []


def test_heads_per_task_give_each_sample_the_classes_of_its_task():
    classes = ClassSet(of(t0={0, 1}, t2={3}), per_task=True)
    assert mask(classes, 4, tasks=[2, 0, 2]) == [[0, 0, 0, 1], [1, 1, 0, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("never_met", [1, 3, 100])
def test_a_task_never_met_has_no_classes(never_met):
    classes = ClassSet(of(t0={0, 1}, t2={2}), per_task=True)
    assert mask(classes, 3, tasks=[never_met, 2]) == [[0, 0, 0], [0, 0, 1]]
    assert mask(ClassSet(per_task=True), 3, tasks=[never_met]) == [[0, 0, 0]]


def test_heads_per_task_without_task_labels_mean_all_classes():
    classes = ClassSet(of(t0={0}, t1={2}), per_task=True)
    assert mask(classes, 4) == [1, 0, 1, 0]


def test_widths_do_not_mix_up():
    classes = ClassSet(of(t0={0}, t1={1}), per_task=True)
    assert [mask(classes, w, tasks=[1]) for w in (2, 3, 2)] == [[[0, 1]], [[0, 1, 0]], [[0, 1]]]


def test_union_joins_task_by_task_and_leaves_both_sides_alone():
    left, right = ClassSet(of(t0={0, 1})), ClassSet(of(t0={1, 2}, t1={5}), per_task=True)
    assert (left | right).by_task == of(t0={0, 1, 2}, t1={5})
    assert (left | right).per_task
    assert (right | left).per_task
    assert not (left | left).per_task
    assert left.by_task == of(t0={0, 1})
    assert right.by_task == of(t0={1, 2}, t1={5})


def test_difference_goes_task_by_task_and_leaves_both_sides_alone():
    left = ClassSet(of(t0={0, 1, 2}, t1={0, 1}, t2={7}), per_task=True)
    right = ClassSet(of(t0={1, 5}, t2={7}, t3={0}), per_task=True)
    assert (left - right).by_task == of(t0={0, 2}, t1={0, 1})
    assert (right - left).by_task == of(t0={5}, t3={0})
    assert left.by_task == of(t0={0, 1, 2}, t1={0, 1}, t2={7})
    assert right.by_task == of(t0={1, 5}, t2={7}, t3={0})


def test_a_task_of_which_nothing_is_left_is_gone():
    classes = ClassSet(of(t0={0, 1}, t1={2}), per_task=True)
    assert (classes - ClassSet(of(t1={2}), per_task=True)).tasks == [0]
    assert (classes - classes).by_task == {}
    assert len(classes - classes) == 0


@pytest.mark.parametrize("per_task", [False, True])
def test_a_difference_is_for_the_heads_of_its_left_side(per_task):
    left = ClassSet(of(t0={0, 1}, t1={2}), per_task=per_task)
    found = left - ClassSet(of(t0={0}))
    assert found.per_task == per_task
    wanted = [[0, 1, 0], [0, 0, 1]] if per_task else [0, 1, 1]
    assert mask(found, 3, tasks=[0, 1]) == wanted


def test_the_dictionary_given_is_copied():
    given = of(t0={0})
    classes = ClassSet(given)
    given[1] = frozenset({1})
    assert classes.indices == [0]


def test_a_set_with_cached_masks_can_be_pickled():
    classes = ClassSet(of(t0={0}, t1={1}), per_task=True)
    mask(classes, 3, tasks=[0])
    assert mask(pickle.loads(pickle.dumps(classes)), 3, tasks=[1]) == [[0, 1, 0]]


def indices(classes):
    return classes.old.indices, classes.current.indices, classes.seen.indices


def test_old_current_and_seen_over_a_stream():
    classes = Classes()
    assert indices(classes) == ([], [], [])
    classes.begin(of(t0={0, 1}), per_task=False)
    assert indices(classes) == ([], [0, 1], [0, 1])
    classes.end()
    assert indices(classes) == ([0, 1], [], [0, 1])
    classes.begin(of(t0={2, 3}), per_task=False)
    assert indices(classes) == ([0, 1], [2, 3], [0, 1, 2, 3])
    classes.end()
    assert indices(classes) == ([0, 1, 2, 3], [], [0, 1, 2, 3])


def test_online_parts_of_an_experience_add_up_until_it_ends():
    classes = Classes()
    classes.begin(of(t0={5}), per_task=False)
    classes.end()
    classes.begin(of(t0={0}), per_task=False)
    classes.begin(of(t0={1}), per_task=False)
    assert indices(classes) == ([5], [0, 1], [0, 1, 5])


def test_a_class_met_again_is_old_and_current():
    classes = Classes()
    classes.begin(of(t0={0, 1}), per_task=False)
    classes.end()
    classes.begin(of(t0={1, 2}), per_task=False)
    assert indices(classes) == ([0, 1], [1, 2], [0, 1, 2])


def test_tasks_keep_their_own_classes():
    classes = Classes()
    classes.begin(of(t0={0, 1}), per_task=True)
    classes.end()
    classes.begin(of(t1={0, 1}), per_task=True)
    assert mask(classes.old, 2, tasks=[0, 1]) == [[1, 1], [0, 0]]
    assert mask(classes.current, 2, tasks=[0, 1]) == [[0, 0], [1, 1]]
    assert mask(classes.seen, 2, tasks=[0, 1]) == [[1, 1], [1, 1]]


def test_what_was_handed_out_does_not_change_later():
    classes = Classes()
    classes.begin(of(t0={0}), per_task=False)
    before = classes.seen
    classes.end()
    classes.begin(of(t0={1}), per_task=False)
    assert before.indices == [0]


# new classes of each experience --------------------------------------------------------------------------------------


def ended(*experiences, per_task=False):
    """The bookkeeping after these experiences, each a dictionary of classes by task label."""
    classes = Classes()
    for by_task in experiences:
        classes.begin(by_task, per_task=per_task)
        classes.end()
    return classes


def new_in(*experiences, per_task=False):
    return [found.by_task for found in ended(*experiences, per_task=per_task).new_by_experience]


def test_each_experience_is_listed_with_its_classes():
    assert new_in() == []
    assert new_in(of(t0={3, 1})) == [of(t0={1, 3})]
    assert new_in(of(t0={3, 1}), of(t0={0})) == [of(t0={1, 3}), of(t0={0})]


def test_an_experience_that_runs_is_not_listed_yet():
    classes = ended(of(t0={0, 1}))
    classes.begin(of(t0={2}), per_task=False)
    assert [found.indices for found in classes.new_by_experience] == [[0, 1]]


def test_a_class_that_comes_again_is_new_in_the_first():
    assert new_in(of(t0={0, 1}), of(t0={1, 2}), of(t0={0, 2, 3})) == [of(t0={0, 1}), of(t0={2}), of(t0={3})]


def test_an_experience_without_new_classes_is_left_out():
    assert new_in(of(t0={0, 1}), of(t0={0}), of(t0={1, 0}), of(t0={2})) == [of(t0={0, 1}), of(t0={2})]


def test_parts_of_an_online_experience_are_one_entry():
    classes = Classes()
    for part in ({0}, {1}, {0, 2}):
        classes.begin(of(t0=part), per_task=False)
    classes.end()
    assert [found.by_task for found in classes.new_by_experience] == [of(t0={0, 1, 2})]


def test_with_heads_per_task_the_same_class_of_another_task_is_new():
    found = ended(of(t0={0, 1}), of(t1={0, 1}), of(t0={1}, t1={2}, t2={0}), per_task=True).new_by_experience
    assert [classes.by_task for classes in found] == [of(t0={0, 1}), of(t1={0, 1}), of(t1={2}, t2={0})]
    assert all(classes.per_task for classes in found)
    assert mask(found[2], 3, tasks=[0, 1, 2]) == [[0, 0, 0], [0, 0, 1], [1, 0, 0]]


def test_with_a_shared_head_a_class_under_another_task_label_is_not_new():
    """As a stream with task labels and the same classes in each experience, on one head."""
    assert [found.indices for found in ended(of(t0={0, 1}), of(t1={0, 1, 2})).new_by_experience] == [[0, 1], [2]]


def test_new_are_the_current_classes_that_are_not_old():
    assert classes_in([0, 1]).new.indices == [0, 1]
    assert classes_in([0, 1], [1, 2]).new.indices == [2]
    assert classes_in([0, 1], [2, 1], [0]).new.indices == []
    per_task = classes_in({0: [0, 1]}, {0: [1], 1: [1, 2]}, per_task=True).new
    assert (per_task.by_task, per_task.per_task) == (of(t1={1, 2}), True)


# labels of tasks that are not known --------------------------------------------------------------------------------


def test_task_labels_that_are_not_in_the_set_become_one_that_is():
    classes = ClassSet(of(t1={0}, t3={1}), per_task=True)
    assert classes.replace_unknown(torch.tensor([1, 3, 0, 2, 4, 99])).tolist() == [1, 3, 1, 1, 1, 1]
    assert classes.replace_unknown(torch.tensor([], dtype=torch.int64)).tolist() == []


# state -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_task", [False, True])
def test_a_set_is_made_again_from_its_state(per_task):
    classes = ClassSet(of(t0={7, 0}, t12={2}), per_task=per_task)
    state = classes.state_dict()
    assert_plain(state)
    again = ClassSet.of_state(json.loads(json.dumps(state)))
    assert (again.by_task, again.per_task) == (classes.by_task, per_task)


@pytest.mark.parametrize("per_task", [False, True])
@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_the_bookkeeping_goes_on_from_its_state(n, per_task):
    stream = [{0: [0, 1]}, {0: [1], 1: [2]}, {2: [0, 5]}]
    classes, again = classes_in(*stream[:n], per_task=per_task), classes_in([8], [9])
    state = classes.state_dict()
    assert_plain(state)
    again.load_state_dict(json.loads(json.dumps(state)))
    for books in (classes, again):
        books.end()
        books.begin(of(t1={3, 6}), per_task=per_task)
    for name in ("old", "current", "seen", "new"):
        one, other = getattr(classes, name), getattr(again, name)
        assert (one.by_task, one.per_task) == (other.by_task, other.per_task)
    assert [found.by_task for found in again.new_by_experience] == [f.by_task for f in classes.new_by_experience]
    assert all(found.per_task == per_task for found in again.new_by_experience)
