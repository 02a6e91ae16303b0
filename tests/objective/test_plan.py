"""What the steps of an experience have in common is found out once, and found out anew when it changes."""

import copy
import pickle

import pytest
import torch
from torch import nn

from ckd import Memory, Objective, Snapshot, Term
from ckd.losses import cross_entropy, kd
from ckd.memory import Rows
from ckd.objective import Batch, Context, Question, memory, old_heads, stream, teacher, union

CE = cross_entropy


def step_of(objective, iteration=0):
    context = Context(0, iteration, objective.classes, lambda m, x, t: m(x), lambda raw, g: raw)
    return objective.step(Batch(torch.randn(4, 3), torch.zeros(4, dtype=torch.int64), torch.zeros(4).long()), context)


def begun(terms, **more):
    objective = Objective("x", terms, memory=Memory(8), **more)
    objective.begin(nn.Linear(3, 2), {0: frozenset({0})}, per_task=False)
    return objective


def fill(objective):
    n = torch.arange(8)
    objective.memory.add(Rows(torch.randn(8, 3), n % 2, n * 0, n * 0))


def test_steps_with_the_same_terms_share_a_plan():
    objective = begun([Term("1", memory("a"), loss=CE)])
    empty = step_of(objective).plan
    assert empty.questions == []
    fill(objective)
    full = step_of(objective).plan
    assert full is not empty
    assert full.questions == [Question(memory("a"))]
    assert step_of(objective).plan is full


def test_a_weight_that_comes_and_goes_changes_the_plan():
    odd = Term("odd", memory("a"), loss=CE, weight=lambda context: context.iteration % 2)
    objective = begun([odd, Term("always", memory("b"), loss=CE)])
    fill(objective)
    found = [[term.name for term, _ in step_of(objective, i).plan.terms] for i in range(4)]
    assert found == [["always"], ["odd", "always"]] * 2
    assert step_of(objective, 1).plan is step_of(objective, 3).plan


def test_heads_that_were_not_there_before_are_asked_in_the_next_experience():
    term = Term("kd", old_heads, teacher("past"), kd)
    objective = Objective("x", [term], teachers={"past": Snapshot()})
    model = nn.Linear(3, 2)
    for per_task, wanted in ((False, stream), (True, old_heads)):
        objective.begin(model, {0: frozenset({0})}, per_task=per_task)
        objective.end(model)
        objective.begin(model, {1 if per_task else 0: frozenset({1})}, per_task=per_task)
        ((_, question),) = step_of(objective).plan.terms
        assert question.draw == wanted


def test_equal_questions_are_one_object():
    objective = begun([Term(str(i), memory("a"), loss=CE) for i in range(3)])
    fill(objective)
    plan = step_of(objective).plan
    assert len({id(question) for question in (*plan.questions, *(question for _, question in plan.terms))}) == 1


def test_plans_stay_behind_when_an_objective_is_pickled_or_copied():
    objective = begun([Term("1", memory("a"), loss=CE)])
    fill(objective)
    plan = step_of(objective).plan
    for copied in (pickle.loads(pickle.dumps(objective)), copy.deepcopy(objective)):
        assert copied._plans == {}
        assert step_of(copied).plan.questions == plan.questions


CRITERION = Term("criterion", union(memory("a")))


@pytest.mark.parametrize(
    ("terms", "wanted"),
    [
        ([], union(memory("a"))),
        ([Term("1", memory("a"), loss=CE)], union(memory("a"))),
        ([Term("1", memory("b"), loss=CE)], None),
    ],
)
def test_a_union_of_all_that_is_asked_is_everything(terms, wanted):
    objective = begun(terms, criterion=CRITERION)
    assert step_of(objective).plan.everything is None
    fill(objective)
    found = step_of(objective).plan.everything
    assert found == (Question(union(memory("a"))) if wanted else None)
    assert step_of(begun([])).plan.everything is None
