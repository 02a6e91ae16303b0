"""Remembered samples that several draws took: asked about once, worth the same."""

import numpy as np
import pytest
import torch
from torch import nn

from ckd import Memory, Objective
from ckd.losses import cross_entropy, logit_mse
from ckd.memory import Rows
from ckd.objective import STREAM, Batch, Context, Question, Term, memory, stored_logits, union
from ckd.objective.plan import POOL
from ckd.objective.pool import Drawn, each_once
from ckd.recipes import get

SIZE, WIDTH, FEATURES = 12, 6, 5
SEVERAL_DRAWS = ["der++", "self-distillation", "bfp", "x-der"]


@pytest.mark.parametrize("drawn", [[0], [3, 1, 3, 0, 7, 1], [5, 5, 5], list(range(9, -1, -1))])
def test_each_once_is_numpys_unique(drawn):
    rows, places = each_once(torch.tensor(drawn), 12)
    wanted, wanted_places = np.unique(drawn, return_inverse=True)
    assert rows.tolist() == wanted.tolist()
    assert places.tolist() == wanted_places.tolist()
    assert rows.dtype == places.dtype == torch.int64


@pytest.mark.parametrize("by_task", [True, False])
def test_what_was_drawn_is_rows_of_the_memory_gathered_when_they_are_looked_at(by_task):
    n = torch.arange(4)
    rows, slots = Rows(torch.randn(4, 3), n, n + 5, n * 2, torch.randn(4, 2)), torch.tensor([3, 0, 0])
    drawn = Drawn(rows, slots, lambda: rows.raw[slots] + 1, device=torch.device("cpu"), by_task=by_task)
    assert drawn.samples == 3
    assert torch.equal(drawn.inputs, rows.raw[slots] + 1)
    for name in ("targets", "logits", "experiences"):
        assert torch.equal(getattr(drawn, name), getattr(rows, name)[slots])
    assert drawn.tasks.tolist() == [8, 5, 5] if by_task else drawn.tasks is None
    rows.logits = None
    assert Drawn(rows, slots, list, device=torch.device("cpu"), by_task=True).logits is None


class Network(nn.Module):
    """Counts the rows that it is asked about."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(FEATURES, 4)
        self.head = nn.Linear(4, WIDTH)
        self.double()
        self.asked = 0

    def forward(self, x):
        self.asked += len(x)
        return self.head(self.body(x).tanh())


def learnt(recipe):
    """An objective after one experience of classes 0 to 2, in one of classes 0 to 5, and its student."""
    torch.manual_seed(0)
    objective, student = get(recipe).build(memory_size=SIZE), Network()
    objective.begin(student, {0: frozenset({0, 1, 2})}, per_task=False)
    n = torch.arange(30)
    remembered = Rows(torch.randn(30, FEATURES, dtype=torch.float64), n % 3, n * 0, n * 0)
    remembered.logits = student(remembered.raw).detach()
    objective.memory.add(remembered, complete=True)
    objective.end(student)
    objective.begin(student, {0: frozenset(range(6))}, per_task=False)
    with torch.no_grad():
        student.head.weight.add_(torch.randn(WIDTH, 4, dtype=torch.float64))
    return objective, student


def learn(recipe, *, merge):
    """The values of a step's terms, the gradient, and how many rows beside the stream were asked about."""
    objective, student = learnt(recipe)
    context = Context(1, 5, objective.classes, lambda model, x, tasks: model(x), lambda raw, g: raw, merge)
    x, y = torch.randn(8, FEATURES, dtype=torch.float64), torch.arange(8) % 6
    step = objective.step(Batch(x, y, None), context)
    student.asked = 0
    features = []
    student.head.register_forward_pre_hook(lambda module, inputs: features.append(inputs[0]))
    for question in (STREAM, *step.questions):
        logits = student(step.batch(question).inputs)
        step.answer(question, logits, features[-1])
    asked = student.asked - 8
    losses = {"criterion": step.criterion(nn.functional.cross_entropy), **step.losses()}
    gradient = torch.autograd.grad(sum(losses.values()), list(student.parameters()))
    return {name: loss.item() for name, loss in losses.items()}, gradient, asked, step


@pytest.mark.parametrize("recipe", SEVERAL_DRAWS)
def test_merged_or_not_a_step_is_worth_the_same(recipe):
    losses, gradient, asked, step = learn(recipe, merge=True)
    wanted, wanted_gradient, all_rows, _ = learn(recipe, merge=False)
    assert losses == pytest.approx(wanted, rel=1e-12)
    for mine, other in zip(gradient, wanted_gradient, strict=True):
        assert torch.allclose(mine, other, rtol=1e-12, atol=1e-14)
    assert all_rows == 8 * len(step.plan.draws) >= 16
    assert asked <= SIZE


def test_the_pool_holds_what_was_drawn_each_once():
    _, _, asked, step = learn("der++", merge=True)
    a, b = (step.batch(memory(name)).inputs for name in "ab")
    everything = {tuple(row) for row in torch.cat([a, b]).tolist()}
    pool = step.batch(POOL).inputs
    assert len(pool) == asked == len(everything)
    assert {tuple(row) for row in pool.tolist()} == everything


def a_view(batch, generator):
    return Batch(-batch.inputs, batch.targets, batch.tasks)


def prepared(raw, generator, out=None):
    return raw if out is None else out.copy_(raw)


def step_with(terms, merge=True, **more):
    n = torch.arange(SIZE)
    rows = Memory(SIZE, keep_logits=True)
    rows.add(Rows(torch.randn(SIZE, FEATURES), n % 3, n * 0, n * 0, torch.randn(SIZE, WIDTH)))
    objective = Objective("x", terms, memory=rows, **more)
    objective.begin(nn.Linear(FEATURES, WIDTH), {0: frozenset(range(6))}, per_task=False)
    context = Context(0, 0, objective.classes, lambda m, x, t: m(x), prepared, merge)
    return objective.step(Batch(torch.randn(8, FEATURES), torch.arange(8) % 6, None), context)


CE = cross_entropy
ONE, TWO, VIEWED = (
    Term("1", memory("a"), stored_logits, logit_mse),
    Term("2", memory("b"), loss=CE),
    Term("3", memory("c"), loss=CE, view=a_view),
)


def test_one_draw_and_draws_that_are_shown_changed_are_not_merged():
    assert step_with([ONE]).questions == [Question(memory("a"))]
    questions = step_with([ONE, TWO, VIEWED]).questions
    assert questions == [Question(memory("a")), Question(memory("b")), Question(memory("c"), a_view)]
    assert step_with([ONE, TWO]).questions == [POOL]
    shown = Term("criterion", union(memory("b")), view=a_view)
    assert step_with([ONE], criterion=shown).questions == [Question(union(memory("b")), a_view), Question(memory("a"))]


def test_a_union_is_answered_from_the_pool():
    step = step_with([ONE], criterion=Term("criterion", union(memory("b"))))
    assert step.questions == [POOL]
    student = nn.Linear(FEATURES, WIDTH)
    for question in (STREAM, POOL):
        step.answer(question, student(step.batch(question).inputs))
    value = step.criterion(nn.functional.cross_entropy)
    b = step.batch(memory("b"))
    x, y = torch.cat([step.stream.inputs, b.inputs]), torch.cat([step.stream.targets, b.targets])
    assert value.item() == pytest.approx(nn.functional.cross_entropy(student(x), y).item(), rel=1e-5)


@pytest.mark.parametrize("merge", [True, False])
def test_a_draw_that_no_term_names_leaves_those_of_the_terms_as_they_are(merge):
    step = step_with([ONE, TWO], merge=merge)
    if not merge:  # behind the stream, where a second draw would find them
        whole = torch.empty(8 + 16, FEATURES)
        whole[:8] = step.stream.inputs
        step.stream.inputs, step.stream.room = whole[:8], whole[8:]
    before = [step.batch(memory(name)).inputs.clone() for name in "ab"]
    other = step.batch(memory("of its own")).inputs
    assert len(other) == 8
    for name, inputs in zip("ab", before, strict=True):
        assert torch.equal(step.batch(memory(name)).inputs, inputs)
    assert step.questions == ([POOL] if merge else [Question(memory("a")), Question(memory("b"))])
