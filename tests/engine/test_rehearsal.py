"""Remembered samples that several draws took: shown once, worth the same."""

import numpy as np
import pytest
import torch
from torch import nn

from ckd import Engine, Memory, Objective
from ckd.engine.rehearsal import Rehearsal, ReplayBatch, unique_slots
from ckd.losses import cross_entropy, logit_mse
from ckd.memory import Rows
from ckd.objective import Batch, Shown, Term, replay, stored_logits, union
from ckd.recipes import get

SIZE, WIDTH, FEATURES = 12, 6, 5
SEVERAL_DRAWS = ["der++", "bfp", "x-der"]


@pytest.mark.parametrize("drawn", [[0], [3, 1, 3, 0, 7, 1], [5, 5, 5], list(range(9, -1, -1))])
def test_unique_slots_are_numpys_unique(drawn):
    rows, places = unique_slots(torch.tensor(drawn), 12)
    wanted, wanted_places = np.unique(drawn, return_inverse=True)
    assert rows.tolist() == wanted.tolist()
    assert places.tolist() == wanted_places.tolist()
    assert rows.dtype == places.dtype == torch.int64


def remembered(with_logits=True):
    n, memory = torch.arange(SIZE), Memory(SIZE, keep_logits=with_logits)
    memory.add(Rows(torch.randn(SIZE, 3), n % 3, n % 2, n // 5, torch.randn(SIZE, 4)))
    return memory


def rehearsed(memory, names="ab", plain="ab", n=8, prepare=lambda raw, generator: 2 * raw, **settings):
    draws, shown = [replay(name) for name in names], [replay(name) for name in plain]
    return Rehearsal(memory, draws, shown, n, prepare=prepare, device=torch.device("cpu"), **settings)


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("by_task", [True, False])
@pytest.mark.parametrize("with_logits", [True, False])
def test_what_was_drawn_is_rows_of_the_memory_prepared(unique, by_task, with_logits):
    memory = remembered(with_logits)
    rows, found = memory.rows, rehearsed(memory, unique=unique, by_task=by_task)
    at = {tuple(row): i for i, row in enumerate((2 * rows.raw).tolist())}
    for draw in (replay("a"), replay("b")):
        batch = found.batches[draw]
        slots = torch.tensor([at[tuple(row)] for row in batch.inputs.tolist()])
        assert len(set(slots.tolist())) == batch.samples == 8
        assert torch.equal(batch.targets, rows.targets[slots])
        assert torch.equal(batch.experiences, rows.experiences[slots])
        assert torch.equal(batch.tasks, rows.tasks[slots]) if by_task else batch.tasks is None
        assert torch.equal(batch.logits, rows.logits[slots]) if with_logits else batch.logits is None


@pytest.mark.parametrize(("plain", "unique"), [("abc", True), ("ab", True), ("b", True), ("", True), ("abc", False)])
def test_draws_are_the_same_whatever_is_shown_plain_or_once(plain, unique):
    """So that a term more or less that changes its view changes nothing else."""
    one, other = remembered(), remembered()
    other.load_state_dict(one.state_dict())
    found = rehearsed(one, "abc", plain, unique=unique, by_task=False)
    slots = other.draw(8, draws=3).chunk(3)
    assert torch.equal(one.generator.get_state(), other.generator.get_state())
    for name, mine in zip("abc", slots, strict=True):
        assert torch.equal(found.batches[replay(name)].inputs, 2 * one.rows.raw[mine])
        assert torch.equal(found.batches[replay(name)].targets, one.rows.targets[mine])


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("plain", ["abc", "ac", "b"])
def test_outputs_for_what_is_shown_are_given_back_to_their_draws(unique, plain):
    found = rehearsed(remembered(), "abc", plain, unique=unique, by_task=False)
    outputs = found.shown.inputs.square().sum(1)
    for name, part in zip(plain, found.by_draw(outputs), strict=True):
        assert torch.equal(part, found.batches[replay(name)].inputs.square().sum(1))
    assert len(found.shown.inputs) <= (SIZE if unique and len(plain) > 1 else 8 * len(plain))


def test_without_a_draw_nothing_is_drawn():
    memory = remembered()
    before = memory.generator.get_state()
    assert rehearsed(memory, "", "", unique=True, by_task=False).batches == {}
    assert torch.equal(memory.generator.get_state(), before)


def test_inputs_are_gathered_when_they_are_first_looked_at():
    calls = []

    def gather():
        calls.append(1)
        return torch.ones(2, 3)

    memory = remembered()
    batch = ReplayBatch.of(memory.rows, torch.arange(2), torch.device("cpu"), by_task=False, inputs=gather)
    assert batch.samples == 2
    assert calls == []
    assert batch.inputs is batch.inputs
    assert calls == [1]
    batch.inputs = torch.zeros(2, 3)
    assert not batch.inputs.any()


# in a step -----------------------------------------------------------------------------------------------------------


class Network(nn.Module):
    """Counts the rows that it is shown."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(FEATURES, 4)
        self.head = nn.Linear(4, WIDTH)
        self.double()
        self.rows = 0

    def forward(self, x):
        self.rows += len(x)
        return self.head(self.body(x).tanh())


def learnt(recipe, *, unique):
    """An engine after one experience of classes 0 to 2, in one of classes 0 to 5, and its student."""
    torch.manual_seed(0)
    objective, student = get(recipe).build(memory_size=SIZE), Network()
    engine = Engine(objective, unique=unique)
    engine.begin(range(3))
    optimizer = torch.optim.SGD(student.parameters(), lr=0.0)
    for i in range(6):
        y = (torch.arange(5) + i) % 3
        engine.loss(student, torch.randn(5, FEATURES, dtype=torch.float64), y)
        engine.after_update(optimizer)
    engine.end()
    engine.begin(range(6))
    with torch.no_grad():
        student.head.weight.add_(torch.randn(WIDTH, 4, dtype=torch.float64))
    return engine, student


def learn(recipe, *, unique):
    """The values of a step's terms, the gradient, how many rows beside the stream were shown, and the step."""
    engine, student = learnt(recipe, unique=unique)
    x, y = torch.randn(8, FEATURES, dtype=torch.float64), torch.arange(8) % 6
    step = engine.step(student, x, y)
    student.rows = 0
    engine.receive(student(step.inputs))
    rows = student.rows - 8
    losses = {"criterion": step.criterion(nn.functional.cross_entropy)}
    losses.update({name: weight * value for name, (weight, value) in step.values().items()})
    gradient = torch.autograd.grad(sum(losses.values()), list(student.parameters()))
    return {name: loss.item() for name, loss in losses.items()}, gradient, rows, step


@pytest.mark.parametrize("recipe", SEVERAL_DRAWS)
def test_shown_once_or_for_each_draw_a_step_is_worth_the_same(recipe):
    losses, gradient, rows, step = learn(recipe, unique=True)
    wanted, wanted_gradient, all_rows, _ = learn(recipe, unique=False)
    assert losses == pytest.approx(wanted, rel=1e-12)
    for mine, other in zip(gradient, wanted_gradient, strict=True):
        assert torch.allclose(mine, other, rtol=1e-12, atol=1e-14)
    assert all_rows == 8 * len(step.plan.replays) >= 16
    assert rows <= SIZE


def test_what_was_drawn_is_shown_once():
    _, _, rows, step = learn("der++", unique=True)
    a, b = (step.batch(replay(name)).inputs for name in "ab")
    everything = {tuple(row) for row in torch.cat([a, b]).tolist()}
    shown = step.inputs[8:]
    assert len(shown) == rows == len(everything)
    assert {tuple(row) for row in shown.tolist()} == everything


def a_view(batch, generator):
    return Batch(-batch.inputs, batch.targets, batch.tasks)


def step_with(terms, unique=True, **more):
    n = torch.arange(SIZE)
    memory = Memory(SIZE, keep_logits=True)
    memory.add(Rows(torch.randn(SIZE, FEATURES), n % 3, n * 0, n * 0, torch.randn(SIZE, WIDTH)))
    engine, student = Engine(Objective("x", terms, memory=memory, **more), unique=unique), nn.Linear(FEATURES, WIDTH)
    engine.begin(range(6))
    step = engine.step(student, torch.randn(8, FEATURES), torch.arange(8) % 6)
    engine.receive(student(step.inputs))
    return step, student


CE = cross_entropy
ONE, TWO, VIEWED = (
    Term("1", replay("a"), stored_logits, logit_mse),
    Term("2", replay("b"), loss=CE),
    Term("3", replay("c"), loss=CE, view=a_view),
)


@pytest.mark.parametrize(
    ("terms", "more", "rows"),
    [
        ([ONE], {}, {16}),
        ([ONE, TWO], {}, range(16, 21)),
        ([ONE, TWO, VIEWED], {}, range(24, 29)),
        ([VIEWED], {}, {16}),
        ([ONE], {"criterion": Term("criterion", union(replay("b")), view=a_view)}, {32}),
        ([ONE], {"criterion": Term("criterion", union(replay("b")))}, range(16, 21)),
    ],
)
def test_one_draw_and_draws_that_are_shown_changed_are_not_merged(terms, more, rows):
    step, _ = step_with(terms, **more)
    assert len(step.inputs) in rows


def test_the_outputs_for_a_union_are_found_among_those_shown_once():
    step, student = step_with([ONE], criterion=Term("criterion", union(replay("b"))))
    assert step.plan.shown == [Shown(replay("b")), Shown(replay("a"))]
    value = step.criterion(nn.functional.cross_entropy)
    b = step.batch(replay("b"))
    x, y = torch.cat([step.stream.inputs, b.inputs]), torch.cat([step.stream.targets, b.targets])
    assert value.item() == pytest.approx(nn.functional.cross_entropy(student(x), y).item(), rel=1e-5)


@pytest.mark.parametrize("unique", [True, False])
def test_a_draw_that_no_term_names_leaves_those_of_the_terms_as_they_are(unique):
    step, _ = step_with([ONE, TWO], unique=unique)
    before = [step.batch(replay(name)).inputs.clone() for name in "ab"]
    other = step.batch(replay("of its own")).inputs
    assert len(other) == 8
    assert step.batch(replay("of its own")).inputs is other
    for name, inputs in zip("ab", before, strict=True):
        assert torch.equal(step.batch(replay(name)).inputs, inputs)
    assert step.plan.shown == [Shown(replay("a")), Shown(replay("b"))]
