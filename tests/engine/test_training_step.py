"""One step: what is drawn and shown, once each, and what the terms make of it."""

from functools import partial

import pytest
import torch
from shared import named
from torch import nn
from torch.nn import functional as F

from ckd import Engine, Fixed, Memory, Objective, Snapshot, Term
from ckd.losses import cross_entropy, feature_distance, kd, logit_mse
from ckd.memory import Rows
from ckd.objective import (
    Batch,
    Draw,
    Shown,
    as_drawn,
    labels,
    old,
    old_heads,
    replay,
    seen,
    stored_logits,
    stream,
    tap,
    teacher,
    union,
)


def filled(size=20, width=6):
    rows = Memory(size, keep_logits=True)
    n = torch.arange(size)
    rows.add(Rows(torch.randn(size, 3), n % width, n * 0, n * 0, torch.randn(size, width)))
    return rows


def network(width=6):
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, width))


def stepped(objective, batch=8, past=True, **settings):
    """A step in the second experience, received, and the student: classes 0 to 2 are old, 3 to 5 current."""
    engine, student = Engine(objective, **settings), network()
    x, y = torch.randn(batch, 3), 3 + torch.arange(batch) % 3
    if past:
        engine.begin(range(3))
        engine.loss(student, x, y - 3)
        engine.moment.iteration += 1  # the weights change below, and the memory stays as it is
        engine.end()
        with torch.no_grad():
            for weight in (student[0].weight, student[2].weight):
                weight.add_(torch.randn(weight.shape))
    engine.begin(range(3, 6))
    engine.moment.iteration = 7
    step = engine.step(student, x, y)
    engine.receive(student(step.inputs))
    return step, student


def total_of(step):
    """The values of the terms, weighted, by name."""
    return {name: weight * value.item() for name, (weight, value) in step.values().items()}


def test_the_same_name_is_the_same_draw_and_another_name_is_not():
    ce = cross_entropy
    terms = [Term("1", replay("a"), loss=ce), Term("2", replay("a"), loss=ce), Term("3", replay("b"), loss=ce)]
    step, _ = stepped(Objective("x", terms, memory=filled()))
    assert step.plan.shown == [Shown(replay("a")), Shown(replay("b"))]
    assert not torch.equal(step.batch(replay("a")).inputs, step.batch(replay("b")).inputs)


@pytest.mark.parametrize("joint", [True, False])
def test_the_sum_is_what_its_formula_says(joint):
    terms = [
        Term("mse", replay("a"), target=stored_logits, loss=logit_mse, weight=0.5),
        Term("ce", replay("a"), target=labels, loss=cross_entropy, weight=lambda moment: moment.iteration),
        Term("kd", stream, target=teacher("past"), loss=partial(kd, temperature=3.0), groups=old),
    ]
    step, student = stepped(Objective("x", terms, memory=filled(), teachers={"past": Snapshot()}), joint=joint)
    a, past = step.batch(replay("a")), step.teacher("past").model
    z, q = student(step.stream.inputs)[:, :3] / 3, past(step.stream.inputs)[:, :3] / 3
    p = q.softmax(1)
    found = total_of(step)
    assert found["mse"] == pytest.approx(0.5 * (student(a.inputs) - a.logits).square().mean().item(), rel=1e-5)
    assert found["ce"] == pytest.approx(7 * F.cross_entropy(student(a.inputs), a.targets).item(), rel=1e-5)
    assert found["kd"] == pytest.approx(9 * (p * (p.log() - z.log_softmax(1))).sum(1).mean().item(), rel=1e-4)


@pytest.mark.parametrize("joint", [True, False])
def test_the_student_is_shown_everything_in_one_pass_or_one_draw_after_the_other(joint):
    rows = []
    terms = [Term("1", replay("a"), loss=cross_entropy), Term("2", replay("b"), loss=cross_entropy)]
    engine, student = Engine(Objective("x", terms, memory=filled()), joint=joint, unique=False), network()
    student.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))
    engine.begin(range(6))
    x, y = torch.randn(8, 3), torch.arange(8) % 6
    step = engine.step(student, x, y)
    assert len(step.inputs) == len(step.targets) == (24 if joint else 8)
    assert torch.equal(step.inputs[:8], x)
    stream_logits = engine.receive(student(step.inputs))
    assert torch.allclose(stream_logits, student(x))
    assert rows[:-1] == ([24] if joint else [8, 8, 8])


# teachers ------------------------------------------------------------------------------------------------------------


class Counting(Snapshot):
    """Notes how many rows each of its forward passes has, and what was wanted of it."""

    def __init__(self):
        super().__init__()
        self.rows, self.wanted = [], []

    def outputs(self, inputs, tasks=None, wanted=()):
        self.rows.append(len(inputs))
        self.wanted.append(tuple(wanted))
        return super().outputs(inputs, tasks, wanted)


def test_a_teacher_is_asked_once_for_each_draw():
    past, counting = teacher("past"), Counting()
    terms = [Term("1", stream, past, kd), Term("2", old_heads, past, kd), Term("3", replay("a"), past, kd)]
    step, _ = stepped(Objective("x", terms, memory=filled(), teachers={"past": counting}))
    step.values()
    assert counting.rows == [8, 8]


@pytest.mark.parametrize("reverse", [True, False])
def test_one_forward_pass_of_a_teacher_gives_all_that_is_wanted_on_a_view(reverse):
    """Its logits, one tap, and two taps at once; by forward passes of its network, not by calls of `outputs`."""
    counting, passes = Counting(), []
    terms = [
        Term("kd", replay("a"), teacher("past"), kd),
        Term("hidden", replay("a"), teacher("past", output=tap("1")), feature_distance, output=tap("1")),
        Term("both", replay("a"), teacher("past", output=tap("0", "1")), of_both, output=tap("0", "1")),
        Term("elsewhere", stream, teacher("past", output=tap("0")), feature_distance, output=tap("0")),
    ]
    objective = Objective("x", terms[::-1] if reverse else terms, memory=filled(), teachers={"past": counting})
    step, student = stepped(objective)
    network = step.teacher("past").model.module
    network.register_forward_pre_hook(lambda module, inputs: passes.append(len(inputs[0])))
    found = total_of(step)
    assert passes == [8, 8]
    assert sorted(map(len, counting.wanted)) == [1, 3]
    a, x = step.batch(replay("a")).inputs, step.stream.inputs
    gap = (student[:2](a) - network[:2](a)).norm(dim=1).mean()
    assert found["hidden"] == pytest.approx(gap.item(), rel=1e-5)
    assert found["elsewhere"] == pytest.approx((student[0](x) - network[0](x)).norm(dim=1).mean().item(), rel=1e-5)


def of_both(student, target):
    return sum(feature_distance(mine, its) for mine, its in zip(student, target, strict=True))


def test_an_output_that_no_term_announced_is_still_given():
    counting = Counting()
    terms = [Term("kd", stream, teacher("past"), kd)]
    step, _ = stepped(Objective("x", terms, teachers={"past": counting}))
    step.values()
    hidden = step.teacher_output("past", Shown(stream), tap("1"))
    assert torch.equal(hidden, step.teacher("past").model.module[:2](step.stream.inputs))
    assert counting.rows == [8, 8]


def turned(batch, generator):
    return Batch(-batch.inputs, batch.targets, batch.tasks, batch.logits, batch.experiences)


def doubled(batch, generator):
    return Batch(2 * batch.inputs, batch.targets, batch.tasks, batch.logits, batch.experiences)


@pytest.mark.parametrize(
    ("view", "of_student", "of_teacher"), [(None, -1, -1), (as_drawn, -1, 1), (doubled, -1, 2)], ids=named
)
@pytest.mark.parametrize("draw", [stream, replay("a"), union(replay("a"))], ids=str)
def test_a_teacher_may_be_shown_another_view_than_the_student(view, of_student, of_teacher, draw):
    fixed = nn.Linear(3, 6)
    term = Term("mse", draw, teacher("t", view=view), logit_mse, view=turned)
    step, student = stepped(Objective("x", [term], memory=filled(), teachers={"t": Fixed(fixed)}))
    x = step.batch(draw).inputs
    wanted = (student(of_student * x) - fixed(of_teacher * x)).square().mean()
    assert total_of(step)["mse"] == pytest.approx(wanted.item(), rel=1e-5)


def test_a_view_of_the_teachers_alone_leaves_what_the_student_is_shown():
    fixed = nn.Linear(3, 6)
    term = Term("mse", replay("a"), teacher("t", view=doubled), logit_mse)
    step, student = stepped(Objective("x", [term], memory=filled(), teachers={"t": Fixed(fixed)}))
    assert step.plan.shown == [Shown(replay("a"))]
    x = step.batch(replay("a")).inputs
    wanted = (student(x) - fixed(2 * x)).square().mean()
    assert total_of(step)["mse"] == pytest.approx(wanted.item(), rel=1e-5)


def test_student_and_teacher_are_shown_the_same_random_view():
    """Drawn once a step; a KD term and a feature term share the forward pass on it."""
    counting = Counting()
    terms = [
        Term("kd", replay("a"), teacher("past"), kd, view=noisy),
        Term("hidden", replay("a"), teacher("past", output=tap("1")), feature_distance, output=tap("1"), view=noisy),
    ]
    step, student = stepped(Objective("x", terms, memory=filled(), teachers={"past": counting}))
    found, shown = total_of(step), step.batch(Shown(replay("a"), noisy)).inputs
    assert counting.rows == [8]
    assert not torch.equal(shown, step.batch(replay("a")).inputs)
    past = step.teacher("past").model.module
    gap = (student[:2](shown) - past[:2](shown)).norm(dim=1).mean()
    assert found["hidden"] == pytest.approx(gap.item(), rel=1e-5)


def noisy(batch, generator):
    noise = torch.randn(batch.inputs.shape, generator=generator)
    return Batch(batch.inputs + noise, batch.targets, batch.tasks, batch.logits, batch.experiences)


# what is left out ----------------------------------------------------------------------------------------------------


def test_nothing_is_drawn_for_weight_zero_an_empty_memory_or_a_teacher_that_is_not_ready():
    terms = [
        Term("zero", replay("a"), loss=cross_entropy, weight=0),
        Term("zero, by schedule", replay("a"), loss=cross_entropy, weight=lambda moment: 0 * moment.experience),
    ]
    objective = Objective("x", terms, memory=filled())
    before = objective.memory.generator.get_state()
    step, _ = stepped(objective)
    assert step.values() == {}
    assert torch.equal(before, objective.memory.generator.get_state())
    empty = Objective("x", [Term("1", replay("a"), loss=cross_entropy)], memory=Memory(3))
    assert stepped(empty)[0].plan.terms == []
    fresh = Objective("x", [Term("1", stream, teacher("t"), kd)], teachers={"t": Snapshot()})
    assert stepped(fresh, past=False)[0].plan.terms == []


# views, unions, samples ----------------------------------------------------------------------------------------------


def test_a_view_changes_what_is_shown_and_is_shown_on_its_own():
    terms = [
        Term("as it is", replay("a"), loss=cross_entropy),
        Term("negative", replay("a"), loss=cross_entropy, view=turned),
    ]
    step, student = stepped(Objective("x", terms, memory=filled()))
    plain, negative = (step.batch(shown) for shown in step.plan.shown)
    assert torch.equal(plain.inputs, -negative.inputs)
    wanted = [F.cross_entropy(student(one.inputs), one.targets).item() for one in (plain, negative)]
    assert list(total_of(step).values()) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("joint", [True, False])
def test_the_outputs_for_a_union_are_those_of_its_parts(joint):
    objective = Objective("x", criterion=Term("criterion", union(replay("a"))), memory=filled(), memory_batch_size=5)
    step, student = stepped(objective, joint=joint)
    assert step.plan.shown == [Shown(replay("a"))]
    joined = step.batch(union(replay("a")))
    assert len(joined.targets) == 13
    wanted = F.cross_entropy(student(joined.inputs), joined.targets)
    assert step.criterion(F.cross_entropy).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_several_groups_get_a_softmax_each():
    def halves(moment, batch, width):
        first = torch.arange(width) < 3
        return [first, ~first]

    fixed = nn.Linear(3, 6)
    terms = [Term("kd", stream, teacher("t"), partial(kd, temperature=1.0), groups=halves)]
    step, student = stepped(Objective("x", terms, teachers={"t": Fixed(fixed)}))
    wanted = 0
    for cut in (slice(0, 3), slice(3, 6)):
        z, p = student(step.stream.inputs)[:, cut].log_softmax(1), fixed(step.stream.inputs)[:, cut].softmax(1)
        wanted += (p * (p.log() - z)).sum(1).mean().item()
    assert total_of(step)["kd"] == pytest.approx(wanted, rel=1e-4)


def test_the_mean_runs_over_the_samples_that_a_draw_says_it_has():
    class Twice(Draw):
        def realise(self, step):
            x, y = step.stream.inputs, step.stream.targets
            return Batch(torch.cat([x, x]), torch.cat([y, y]), None, samples=len(y))

    step, student = stepped(Objective("x", [Term("ce", Twice(), loss=cross_entropy)]))
    once = F.cross_entropy(student(step.stream.inputs), step.stream.targets)
    assert total_of(step)["ce"] == pytest.approx(2 * once.item(), rel=1e-5)


# the criterion -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [True, False])
def test_the_criterion_has_a_weight_too(own):
    loss = None if own else cross_entropy
    for weight, wanted in ((1.0, 1.0), (0.25, 0.25), (lambda moment: moment.iteration, 7.0)):
        step, student = stepped(Objective("x", criterion=Term("criterion", stream, loss=loss, weight=weight)))
        plain = F.cross_entropy(student(step.stream.inputs), step.stream.targets)
        assert step.criterion(F.cross_entropy).item() == pytest.approx(wanted * plain.item(), rel=1e-6)


def test_without_a_criterion_of_the_objective_the_training_loops_own_is_called_once_on_the_stream():
    calls = []

    def own(logits, targets):
        calls.append((logits, targets))
        return F.cross_entropy(logits, targets)

    step, student = stepped(Objective("x", [Term("r", replay("a"), loss=cross_entropy)], memory=filled()))
    value = step.criterion(own)
    ((logits, targets),) = calls
    assert torch.equal(targets, step.stream.targets)
    assert torch.allclose(logits, student(step.stream.inputs))
    assert value.item() == pytest.approx(F.cross_entropy(logits, targets).item())


def test_the_criterion_may_have_a_target_a_group_and_an_output_of_its_own():
    fixed = network()
    of_classes = Term("criterion", stream, loss=cross_entropy, groups=seen)
    step, student = stepped(Objective("x", criterion=of_classes), past=False)
    z = student(step.stream.inputs)[:, 3:].log_softmax(1)
    wanted = -z.gather(1, step.stream.targets[:, None] - 3).mean()
    assert step.criterion(None).item() == pytest.approx(wanted.item(), rel=1e-5)
    hidden = Term("criterion", stream, teacher("t", output=tap("1")), feature_distance, output=tap("1"))
    step, student = stepped(Objective("x", criterion=hidden, teachers={"t": Fixed(fixed)}))
    x = step.stream.inputs
    wanted = (student[:2](x) - fixed[:2](x)).norm(dim=1).mean()
    assert step.criterion(None).item() == pytest.approx(wanted.item(), rel=1e-5)
