"""What the steps of an experience have in common is found out once, and found out anew when it changes."""

import copy
import pickle

import pytest
import torch
from torch import nn

from ckd import Engine, Fixed, Memory, Objective, Snapshot, Term, tap
from ckd.losses import cross_entropy, feature_distance, kd
from ckd.memory import Rows
from ckd.objective import Shown, as_drawn, features, labels, logits, old_heads, replay, stream, teacher, union
from ckd.views import Noise

CE = cross_entropy


class Student(nn.Sequential):
    """A linear layer and a head; takes task labels where it is given any."""

    def __init__(self):
        super().__init__(nn.Linear(3, 2), nn.Linear(2, 2))

    def forward(self, inputs, tasks=None):
        return super().forward(inputs)


STUDENT = Student()


def planned(engine, iteration=0):
    """The plan of a step."""
    engine.moment.iteration = iteration
    x, y = torch.randn(4, 3), torch.zeros(4, dtype=torch.int64)
    step = engine.step(STUDENT, x, y, torch.zeros(4, dtype=torch.int64))
    engine.receive(STUDENT(step.inputs))
    return step.plan


def begun(terms, full=True, **more):
    engine = Engine(Objective("x", terms, memory=Memory(8), **more))
    engine.begin([0])
    if full:
        fill(engine)
    return engine


def fill(engine):
    n = torch.arange(8)
    engine.objective.memory.add(Rows(torch.randn(8, 3), n % 2, n * 0, n * 0))


def test_while_the_memory_is_empty_a_view_of_a_union_is_one_of_the_stream_for_student_and_teacher():
    view = Noise(0.1)
    told = teacher("t", view=view)
    terms = [Term("1", union(replay("a")), labels, CE, view=view), Term("2", union(replay("a")), told, kd)]
    engine = begun(terms, full=False, teachers={"t": Fixed(nn.Linear(3, 2))})
    plan = planned(engine)
    assert plan.shown == [Shown(stream, view)]
    assert list(plan.teachers) == [("t", Shown(stream, view))]
    fill(engine)
    assert planned(engine).shown == [Shown(replay("a")), Shown(union(replay("a")), view)]


def test_steps_with_the_same_terms_share_a_plan():
    engine = begun([Term("1", replay("a"), loss=CE)], full=False)
    empty = planned(engine)
    assert empty.shown == []
    fill(engine)
    full = planned(engine)
    assert full is not empty
    assert full.shown == [Shown(replay("a"))]
    assert planned(engine) is full


def test_a_weight_that_comes_and_goes_changes_the_plan():
    odd = Term("odd", replay("a"), loss=CE, weight=lambda moment: moment.iteration % 2)
    engine = begun([odd, Term("always", replay("b"), loss=CE)])
    found = [[term.name for term, _ in planned(engine, i).terms] for i in range(4)]
    assert found == [["always"], ["odd", "always"]] * 2
    assert planned(engine, 1) is planned(engine, 3)


@pytest.mark.parametrize("per_task", [False, True])
def test_heads_that_were_not_there_before_are_shown_the_stream_in_the_next_experience(per_task):
    engine = Engine(Objective("x", [Term("kd", old_heads, teacher("past"), kd)], teachers={"past": Snapshot()}))
    engine.begin({0: [0]}, per_task=per_task)
    assert planned(engine).terms == []
    engine.end()
    engine.begin({1 if per_task else 0: [1]}, per_task=per_task)
    ((_, shown),) = planned(engine).terms
    assert shown.draw == (old_heads if per_task else stream)


def test_equal_draws_are_one_object():
    engine = begun([Term(str(i), replay("a"), loss=CE) for i in range(3)])
    plan = planned(engine)
    assert len({id(shown) for shown in (*plan.shown, *(shown for _, shown in plan.terms))}) == 1


def test_plans_stay_behind_when_an_engine_is_pickled_or_copied():
    engine = begun([Term("1", replay("a"), loss=CE)])
    plan = planned(engine)
    for copied in (pickle.loads(pickle.dumps(engine)), copy.deepcopy(engine)):
        assert copied._passes is None
        assert copied._step is None
        assert planned(copied).shown == plan.shown


CRITERION = Term("criterion", union(replay("a")))


@pytest.mark.parametrize(
    ("terms", "whole"),
    [
        ([], True),
        ([Term("1", replay("a"), loss=CE)], True),
        ([Term("1", replay("b"), loss=CE)], False),
        ([Term("1", stream, loss=CE, view=as_drawn)], False),
    ],
)
def test_a_union_of_all_that_is_shown_is_the_whole(terms, whole):
    engine = begun(terms, criterion=CRITERION, full=False)
    assert planned(engine).union is None
    fill(engine)
    assert planned(engine).union == (Shown(union(replay("a"))) if whole else None)
    assert planned(begun([])).union is None


def doubled(batch, generator):
    return batch


def test_plain_draws_from_memory_are_told_from_those_that_are_shown_changed():
    terms = [
        Term("1", replay("a"), loss=CE, view=doubled),
        Term("2", replay("b"), loss=CE),
        Term("3", union(replay("c")), loss=CE),
        Term("4", union(replay("d")), loss=CE, view=doubled),
    ]
    plan = planned(begun(terms))
    assert plan.replays == [replay(name) for name in "abcd"]
    assert plan.plain == [replay("b"), replay("c")]
    changed = [Shown(replay("a"), doubled), Shown(union(replay("d")), doubled)]
    assert plan.shown == [Shown(replay("b")), Shown(replay("c")), *changed]


def test_every_tap_of_the_student_and_every_output_of_a_teacher_is_known_beforehand():
    hint = teacher("t", output=tap("0"))
    terms = [
        Term("kd", replay("a"), teacher("t"), kd),
        Term("hint", replay("a"), hint, feature_distance, output=tap("0")),
        Term("again", replay("a"), hint, feature_distance, output=tap("0"), view=doubled),
        Term("shown otherwise", replay("a"), teacher("t", view=as_drawn), kd, view=doubled),
        Term("labels", replay("a"), labels, of_features, output=features),
    ]
    plan = planned(begun(terms, teachers={"t": Fixed(Student())}))
    assert plan.taps == (tap("0"), features)
    plain, changed = Shown(replay("a")), Shown(replay("a"), doubled)
    assert plan.teachers == {("t", plain): (logits, tap("0")), ("t", changed): (tap("0"),)}


def of_features(student, target):
    return student.square().sum(1)


def test_a_term_that_is_left_out_asks_for_nothing():
    terms = [
        Term("off", replay("a"), teacher("t"), of_features, output=tap("0"), weight=0),
        Term("on", replay("b"), loss=CE),
    ]
    plan = planned(begun(terms, teachers={"t": Fixed(Student())}))
    assert (plan.taps, plan.teachers, plan.replays) == ((), {}, [replay("b")])
