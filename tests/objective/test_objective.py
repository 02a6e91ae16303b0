"""Objectives without Avalanche: what is drawn and asked, and what is refused."""

from functools import partial

import pytest
import torch

from ckd import Memory, Objective, Snapshot, Term
from ckd.errors import ConfigError
from ckd.losses import cross_entropy, kd, logit_mse
from ckd.memory import Rows
from ckd.objective import (
    STREAM,
    Batch,
    Context,
    Draw,
    Question,
    all_classes,
    best_teacher,
    current,
    implanted_logits,
    labels,
    memory,
    old,
    old_heads,
    old_or_current,
    present,
    seen,
    stored_logits,
    stream,
    teacher,
    union,
)
from ckd.part import Ending


def filled(size=20, width=6):
    rows = Memory(size, keep_logits=True)
    n = torch.arange(size)
    rows.add(Rows(torch.randn(size, 3), n % width, n * 0, n * 0, torch.randn(size, width)))
    return rows


def begin(objective, batch=8, width=6, per_task=False, tasks=None):
    """A step in the second experience: classes 0 to 2 are old, 3 to 5 current."""
    model = torch.nn.Linear(3, width)
    objective.begin(model, {0: frozenset({0, 1, 2})}, per_task=per_task)
    objective.end(model)
    objective.begin(model, {1 if per_task else 0: frozenset({3, 4, 5})}, per_task=per_task)
    context = Context(1, 7, objective.classes, lambda m, x, t: m(x), lambda raw, g: raw)
    x, y = torch.randn(batch, 3), 3 + torch.arange(batch) % 3
    return objective.step(Batch(x, y, tasks), context), model


def answer_all(step, model):
    step.answer(STREAM, model(step.stream.inputs))
    for question in step.questions:
        step.answer(question, model(step.batch(question).inputs))


def test_the_same_name_is_the_same_draw_and_another_name_is_not():
    ce = cross_entropy
    terms = [Term("1", memory("a"), loss=ce), Term("2", memory("a"), loss=ce), Term("3", memory("b"), loss=ce)]
    step, _ = begin(Objective("x", terms, memory=filled()))
    assert step.questions == [Question(memory("a")), Question(memory("b"))]
    assert not torch.equal(step.batch(memory("a")).inputs, step.batch(memory("b")).inputs)


def test_the_sum_is_what_its_formula_says():
    terms = [
        Term("mse", memory("a"), target=stored_logits, loss=logit_mse, weight=0.5),
        Term("ce", memory("a"), target=labels, loss=cross_entropy, weight=lambda c: c.iteration),
        Term("kd", stream, target=teacher("past"), loss=partial(kd, temperature=3.0), groups=old),
    ]
    step, past = begin(Objective("x", terms, memory=filled(), teachers={"past": Snapshot()}))
    student = torch.nn.Linear(3, 6)
    answer_all(step, student)
    a = step.batch(memory("a"))
    z, q = student(step.stream.inputs)[:, :3] / 3, past(step.stream.inputs)[:, :3] / 3
    p = q.softmax(1)
    losses = step.losses()
    assert losses["mse"].item() == pytest.approx(0.5 * (student(a.inputs) - a.logits).square().mean().item())
    assert losses["ce"].item() == pytest.approx(
        7 * torch.nn.functional.cross_entropy(student(a.inputs), a.targets).item()
    )
    assert losses["kd"].item() == pytest.approx(9 * (p * (p.log() - z.log_softmax(1))).sum(1).mean().item(), rel=1e-5)


def test_the_teacher_is_asked_once_for_each_draw():
    asked = []

    class Counting(Snapshot):
        def answer(self, ask, inputs, tasks):
            asked.append(len(inputs))
            return super().answer(ask, inputs, tasks)

    past, kd = teacher("past"), kd
    terms = [Term("1", stream, past, kd), Term("2", old_heads, past, kd), Term("3", memory("a"), past, kd)]
    step, model = begin(Objective("x", terms, memory=filled(), teachers={"past": Counting()}))
    answer_all(step, model)
    step.losses()
    assert asked == [8, 8]


def test_nothing_is_drawn_for_weight_zero_an_empty_memory_or_a_teacher_that_is_not_ready():
    terms = [
        Term("zero", memory("a"), loss=cross_entropy, weight=0),
        Term("zero, by schedule", memory("a"), loss=cross_entropy, weight=lambda c: 0 * c.experience),
    ]
    objective = Objective("x", terms, memory=filled())
    before = objective.memory.generator.get_state()
    step, model = begin(objective)
    answer_all(step, model)
    assert step.losses() == {}
    assert torch.equal(before, objective.memory.generator.get_state())
    empty = Objective("x", [Term("1", memory("a"), loss=cross_entropy)], memory=Memory(3))
    assert begin(empty)[0].plan.terms == []
    fresh = Objective("x", [Term("1", stream, teacher("t"), kd)], teachers={"t": Snapshot()})
    fresh.begin(torch.nn.Linear(3, 6), {0: frozenset({0})}, per_task=False)
    context = Context(0, 0, fresh.classes, lambda m, x, t: m(x), lambda raw, g: raw)
    assert fresh.step(Batch(torch.randn(2, 3), torch.zeros(2).long(), None), context).plan.terms == []


def test_a_view_changes_what_is_shown_and_is_a_question_of_its_own():
    def negative(batch, generator):
        return Batch(-batch.inputs, batch.targets, batch.tasks)

    terms = [
        Term("as it is", memory("a"), loss=cross_entropy),
        Term("negative", memory("a"), loss=cross_entropy, view=negative),
    ]
    step, _ = begin(Objective("x", terms, memory=filled()))
    plain, turned = (step.batch(q).inputs for q in step.questions)
    assert torch.equal(plain, -turned)


def test_a_union_is_answered_from_its_parts():
    step, model = begin(
        Objective("x", criterion=Term("criterion", union(memory("a"))), memory=filled(), memory_batch_size=5)
    )
    assert step.questions == [Question(memory("a"))]
    answer_all(step, model)
    joined = step.batch(union(memory("a")))
    assert len(joined.targets) == 13
    value = step.criterion(torch.nn.functional.cross_entropy)
    wanted = torch.nn.functional.cross_entropy(model(joined.inputs), joined.targets)
    assert value.item() == pytest.approx(wanted.item())


@pytest.mark.parametrize(
    ("group", "wanted"),
    [(old, [0, 1, 2]), (current, [3, 4, 5]), (present, [3, 5]), (seen, None), (all_classes, None)],
)
def test_groups_against_brute_force(group, wanted):
    step, _ = begin(Objective("x"), batch=2)
    step.stream.targets = torch.tensor([5, 3])
    (mask,) = group(step, step.stream, 6)
    assert (mask is None) if wanted is None else mask.nonzero()[:, 0].tolist() == wanted
    if group is seen:
        (wider,) = group(step, step.stream, 8)
        assert wider.tolist() == [True] * 6 + [False] * 2


def test_several_groups_get_a_softmax_each():
    def halves(step, batch, width):
        first = torch.arange(width) < 3
        return [first, ~first]

    terms = [Term("kd", stream, teacher("past"), partial(kd, temperature=1.0), groups=halves)]
    step, past = begin(Objective("x", terms, teachers={"past": Snapshot()}))
    step.objective.teachers["past"].taught = step.context.classes.seen
    student = torch.nn.Linear(3, 6)
    answer_all(step, student)
    wanted = 0
    for cut in (slice(0, 3), slice(3, 6)):
        z, p = student(step.stream.inputs)[:, cut].log_softmax(1), past(step.stream.inputs)[:, cut].softmax(1)
        wanted += (p * (p.log() - z)).sum(1).mean().item()
    assert step.losses()["kd"].item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Objective("x", [Term("1", stream)]), "expected a loss"),
        (lambda: Objective("x", [Term("1", memory("a"), loss=kd)]), "expected a memory"),
        (lambda: Objective("x", [Term("1", stream, stored_logits, kd)], memory=Memory(1)), "from memory"),
        (lambda: Objective("x", [Term("1", stream, teacher("t"), kd)]), "Snapshot"),
        (lambda: Objective("x", [Term("1", stream, loss=kd)] * 2), "different names"),
        (lambda: Objective("x", [Term("criterion", stream, loss=kd)]), "different names"),
        (lambda: Objective("x", criterion=Term("c", union(memory("a")))), "expected a memory"),
        (lambda: Objective("x", memory=Memory(1), memory_batch_size=0), "1 or more"),
        (lambda: Term("1", stream, weight=float("nan")), "finite"),
    ],
)
def test_what_cannot_work_is_refused_at_construction(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_the_best_teacher_is_chosen_for_each_sample():
    past = {name: Snapshot() for name in "ab"}
    terms = [Term("mse", stream, best_teacher("a", "b"), logit_mse)]
    step, _ = begin(Objective("x", terms, teachers=past))
    for teacher_ in past.values():
        teacher_.end(Ending(torch.nn.Linear(3, 6), step.context.classes.seen))
    student = torch.nn.Linear(3, 6)
    answer_all(step, student)
    wanted = 0.0
    for x, y in zip(step.stream.inputs, step.stream.targets, strict=True):
        answers = [past[name].model(x[None])[0] for name in "ab"]
        best = max(answers, key=lambda z: z.softmax(0)[y].item())
        wanted += (student(x) - best).square().mean().item() / len(step.stream.targets)
    assert step.losses()["mse"].item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("own", [True, False])
def test_the_criterion_has_a_weight_too(own):
    loss = None if own else cross_entropy
    for weight, wanted in ((1.0, 1.0), (0.25, 0.25), (lambda context: context.iteration, 7.0)):
        step, model = begin(Objective("x", criterion=Term("criterion", stream, loss=loss, weight=weight)))
        answer_all(step, model)
        value = step.criterion(torch.nn.functional.cross_entropy)
        plain = torch.nn.functional.cross_entropy(model(step.stream.inputs), step.stream.targets)
        assert value.item() == pytest.approx(wanted * plain.item(), rel=1e-6)


def test_an_experience_ends_in_order_memory_corrections_answer_teachers_each_once():
    ended = []

    class Noted(Snapshot):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def end(self, ending):
            ended.append((self.name, ending.remembered() is not None, ending.taught.indices))

        def answering(self, model):
            return model

    both = Noted("answer and teacher")
    objective = Objective(
        "x", memory=filled(), corrections=[Noted("correction")], answers=both, teachers={"a": Noted("a"), "b": both}
    )
    objective.begin(torch.nn.Linear(3, 6), {0: frozenset({1})}, per_task=False)
    objective.end(torch.nn.Linear(3, 6))
    assert ended == [(name, True, [1]) for name in ("correction", "answer and teacher", "a")]


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        (Term("criterion", draw=union(memory("a")), groups=old_or_current), "a loss"),
        (Term("criterion", draw=memory("a"), loss=cross_entropy), "the stream"),
        (Term("criterion", draw=stream, target=stored_logits, loss=logit_mse), "a draw from memory"),
    ],
)
def test_a_criterion_that_cannot_work_is_refused(criterion, expected):
    with pytest.raises(ConfigError, match=expected):
        Objective("mine", criterion=criterion, memory=Memory(20))


@pytest.mark.parametrize("wrong", [{"groups": "old"}, {"loss": "kd"}, {"view": 1}])
def test_what_is_called_must_be_a_function(wrong):
    with pytest.raises(ConfigError, match="expected a function"):
        Term("mine", **{"draw": stream, "loss": cross_entropy, **wrong})


@pytest.mark.parametrize("gamma", [-0.1, 1.1, float("nan"), "a"])
def test_the_bound_of_implanted_answers_is_checked(gamma):
    with pytest.raises(ConfigError, match="from 0 to 1"):
        implanted_logits(gamma)


def test_the_mean_runs_over_the_samples_that_a_draw_says_it_has():
    class Twice(Draw):
        def realise(self, step):
            x, y = step.stream.inputs, step.stream.targets
            return Batch(torch.cat([x, x]), torch.cat([y, y]), None, samples=len(y))

    step, _ = begin(Objective("x", [Term("ce", Twice(), loss=cross_entropy)]))
    student = torch.nn.Linear(3, 6)
    answer_all(step, student)
    once = torch.nn.functional.cross_entropy(student(step.stream.inputs), step.stream.targets)
    assert step.losses()["ce"].item() == pytest.approx(2 * once.item(), rel=1e-5)
