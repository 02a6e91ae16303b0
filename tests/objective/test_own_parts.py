"""Terms of a user's own making: losses, views, weights, draws and targets that follow the run and are saved with it."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ckd import Engine, Fixed, Memory, Objective, Snapshot, Term, tap
from ckd.errors import ConfigError
from ckd.losses import cross_entropy, feature_mse, kd, logit_mse, probability_mse
from ckd.memory import Rows
from ckd.objective import Batch, Draw, Target, logits, replay, stream, teacher
from ckd.part import Part

WIDTH = 4


class Counting(Part):
    """Notes its calls, in order, and counts the classes of the stream."""

    def __init__(self):
        self.calls, self.counts = [], torch.zeros(WIDTH)

    def begin(self, model, classes):
        self.calls.append(f"begin {classes.current.indices}")

    def after_update(self, update):
        self.calls.append(f"update of experience {update.experience}")
        self.counts += torch.bincount(update.targets, minlength=WIDTH)

    def end(self, ending):
        self.calls.append(f"end {ending.experience}")

    def state_dict(self):
        return {"counts": self.counts.clone()}

    def load_state_dict(self, state, student):
        self.counts = state["counts"].clone()


class CountingLoss(Counting):
    """Cross entropy adjusted by how often the stream has shown each class."""

    def __call__(self, student, target, *, classes=None):
        return cross_entropy(student + (1 + self.counts).log(), target, classes=classes)


class CountingView(Counting):
    def __call__(self, batch, generator):
        return Batch(batch.inputs * (1 + self.counts.sum()), batch.targets, batch.tasks)


class CountingWeight(Counting):
    def __call__(self, moment):
        return 1 + float(self.counts.sum())


class CountingGroups(Counting):
    def __call__(self, moment, batch, width):
        return [self.counts >= 0]


class CountingDraw(Counting, Draw):
    def realise(self, step):
        scale = 1 + self.counts.sum()
        return Batch(step.stream.inputs * scale, step.stream.targets, step.stream.tasks)


class CountingTarget(Counting, Target):
    def values(self, step, shown):
        return torch.full_like(step.student(shown).detach(), float(self.counts.sum())), None


MAKE = {
    "loss": lambda part: Term("mine", loss=part),
    "view": lambda part: Term("mine", loss=cross_entropy, view=part),
    "weight": lambda part: Term("mine", loss=cross_entropy, weight=part),
    "groups": lambda part: Term("mine", loss=cross_entropy, groups=part),
    "draw": lambda part: Term("mine", part, loss=cross_entropy),
    "target": lambda part: Term("mine", target=part, loss=logit_mse),
}
KIND = {
    "loss": CountingLoss,
    "view": CountingView,
    "weight": CountingWeight,
    "groups": CountingGroups,
    "draw": CountingDraw,
    "target": CountingTarget,
}
EACH = pytest.mark.parametrize("what", MAKE)


def batches(n=2):
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(6, 3, generator=generator), torch.tensor([0, 1, 1, 0, 1, 1])) for _ in range(n)]


def learn(engine, student, optimizer, data):
    losses = []
    for x, y in data:
        optimizer.zero_grad()
        loss = engine.loss(student, x, y)
        loss.backward()
        optimizer.step()
        engine.after_update(optimizer)
        losses.append(loss.total.item())
    return losses


def made(what):
    part, student = KIND[what](), nn.Linear(3, WIDTH)
    engine = Engine(Objective("x", [MAKE[what](part)]))
    return part, engine, student, torch.optim.SGD(student.parameters(), lr=0.05)


@EACH
def test_it_sees_every_experience_begin_and_end_and_every_update(what):
    part, engine, student, optimizer = made(what)
    assert engine.objective.parts == {f"{what} of mine": part}
    for classes in ([0, 1], [2, 3]):
        engine.begin(classes)
        learn(engine, student, optimizer, batches())
        engine.end()
    first = ["begin [0, 1]", "update of experience 0", "update of experience 0", "end 0"]
    assert part.calls == [*first, "begin [2, 3]", "update of experience 1", "update of experience 1", "end 1"]
    assert part.counts.tolist() == [8, 16, 0, 0]


@EACH
def test_its_state_is_saved_and_restored(what):
    _, engine, student, optimizer = made(what)
    engine.begin([0, 1])
    learn(engine, student, optimizer, batches())
    state = engine.state_dict()
    assert state["parts"][f"{what} of mine"]["counts"].tolist() == [4, 8, 0, 0]
    other_part, other, _, _ = made(what)
    again = copy.deepcopy(student)
    other.load_state_dict(state, again)
    assert other_part.counts.tolist() == [4, 8, 0, 0]
    rest = batches(5)[2:]
    wanted = learn(engine, student, optimizer, rest)
    assert learn(other, again, torch.optim.SGD(again.parameters(), lr=0.05), rest) == wanted


def test_a_loss_that_counts_the_classes_of_the_stream_by_hand():
    part, engine, student, optimizer = made("loss")
    engine.begin([0, 1])
    counts = torch.zeros(WIDTH)
    for x, y in batches(3):
        optimizer.zero_grad()
        found = engine.loss(student, x, y)
        wanted = F.cross_entropy(student(x) + (1 + counts).log(), y)
        assert found.parts["mine"].item() == pytest.approx(wanted.item(), rel=1e-6)
        assert found.total.item() == pytest.approx(wanted.item() + F.cross_entropy(student(x), y).item(), rel=1e-6)
        found.backward()
        optimizer.step()
        engine.after_update(optimizer)
        counts += torch.bincount(y, minlength=WIDTH)
    assert torch.equal(part.counts, counts)


def test_a_view_and_a_weight_that_count():
    view, weight, student = CountingView(), CountingWeight(), nn.Linear(3, WIDTH)
    engine = Engine(Objective("x", [Term("mine", loss=cross_entropy, view=view, weight=weight)]))
    optimizer, seen = torch.optim.SGD(student.parameters(), lr=0.0), 0
    engine.begin([0, 1])
    for x, y in batches(3):
        found = engine.loss(student, x, y)
        wanted = (1 + seen) * F.cross_entropy(student((1 + seen) * x), y)
        assert found.parts["mine"].item() == pytest.approx(wanted.item(), rel=1e-5)
        engine.after_update(optimizer)
        seen += len(y)


# draws and targets ---------------------------------------------------------------------------------------------------


class Part_of(Draw):
    """Every k-th sample of the stream."""

    def __init__(self, k):
        self.k = k

    def realise(self, step):
        stream = step.stream
        return Batch(stream.inputs[:: self.k], stream.targets[:: self.k], None)


class Shifted(Target):
    """What a teacher says, and something on top; waits for the teacher."""

    def __init__(self, name, by):
        self.name, self.by = name, by

    @property
    def teachers(self):
        return (self.name,)

    def wishes(self, shown):
        return [(self.name, shown, logits)]

    def values(self, step, shown):
        return step.teacher_output(self.name, shown) + self.by, None


@pytest.mark.parametrize("joint", [True, False])
def test_draws_and_targets_with_settings_are_as_different_as_these(joint):
    terms = [
        Term("second", Part_of(2), Shifted("past", 1.0), logit_mse),
        Term("third", Part_of(3), Shifted("past", 2.0), logit_mse),
        Term("replay", replay("a"), Shifted("past", 3.0), logit_mse),
    ]
    filled, n = Memory(6), torch.arange(6)
    filled.add(Rows(torch.randn(6, 3), n % 2, 0 * n, 0 * n))
    objective, student = Objective("x", terms, memory=filled, teachers={"past": Snapshot()}), nn.Linear(3, WIDTH)
    engine = Engine(objective, joint=joint)
    x, y = batches()[0]
    engine.begin([0, 1])
    assert set(engine.loss(student, x, y).parts) == {"criterion"}
    engine.moment.iteration += 1  # the weights change below, and the memory stays as it is
    engine.end()
    past = copy.deepcopy(student)
    nn.init.normal_(student.weight)
    engine.begin([2, 3])
    step = engine.step(student, x, y)
    engine.receive(student(step.inputs))
    shown = {"second": x[::2], "third": x[::3], "replay": step.batch(replay("a")).inputs}
    for (name, (_, value)), by in zip(step.values().items(), (1, 2, 3), strict=True):
        wanted = (student(shown[name]) - past(shown[name]) - by).square().mean()
        assert value.item() == pytest.approx(wanted.item(), rel=1e-5)


class WithMemory(Draw):
    """The stream and remembered samples, with the labels of both."""

    uses_memory = True

    def available(self, step):
        return step.has_memory

    def realise(self, step):
        drawn, stream = step.replay(replay("of its own")), step.stream
        return Batch(torch.cat([stream.inputs, drawn.inputs]), torch.cat([stream.targets, drawn.targets]), None)


@pytest.mark.parametrize("others", [0, 1, 2])
def test_a_draw_that_looks_at_the_memory_needs_one_and_draws_on_its_own(others):
    """Whether or not other terms draw from memory."""
    terms = [Term(str(i), replay(str(i)), loss=cross_entropy) for i in range(others)]
    terms.append(Term("mine", WithMemory(), loss=cross_entropy))
    with pytest.raises(ConfigError, match="expected a memory"):
        Objective("x", terms)
    engine, student = Engine(Objective("x", terms, memory=Memory(6))), nn.Linear(3, WIDTH)
    engine.begin([0, 1])
    x, y = batches()[0]
    assert set(engine.loss(student, x, y).parts) == {"criterion"}
    engine.after_update()
    found = engine.loss(student, x, y)
    wanted = F.cross_entropy(student(x), y)  # the memory is the stream once more
    assert found.parts["mine"].item() == pytest.approx(wanted.item(), rel=1e-5)
    assert list(found.parts) == ["criterion", *(term.name for term in terms)]


class Unhashable:
    """A view that can be compared and therefore not be hashed."""

    def __eq__(self, other):
        return True

    def __call__(self, batch, generator):
        return batch


def test_a_view_that_cannot_be_hashed_is_refused_before_anything_is_trained():
    for more in (
        {"loss": cross_entropy, "view": Unhashable()},
        {"target": teacher("t", view=Unhashable()), "loss": kd},
    ):
        engine = Engine(Objective("x", [Term("1", **more)], teachers={"t": Fixed(nn.Linear(3, WIDTH))}))
        engine.begin([0, 1])
        with pytest.raises(ConfigError, match=r"Write @dataclass\(frozen=True\)"):
            engine.loss(nn.Linear(3, WIDTH), *batches()[0])


def test_what_no_term_draws_can_be_asked_of_a_step():
    engine = Engine(Objective("x", [Term("1", replay("a"), loss=cross_entropy)], memory=Memory(6)))
    student = nn.Linear(3, WIDTH)
    engine.begin([0, 1])
    x, y = batches()[0]
    engine.loss(student, x, y)
    engine.after_update()
    step = engine.step(student, x, y)
    before = step.batch(replay("a")).inputs.clone()
    assert sorted(step.batch(replay("b")).inputs.tolist()) == sorted(x.tolist())
    assert torch.equal(step.batch(replay("a")).inputs, before)
    assert step.batch(stream) is step.stream


class Known(Target):
    """Zeros; of every second sample nothing is known."""

    def __init__(self, width):
        self.width = width

    def values(self, step, shown):
        n = len(step.batch(shown).targets)
        known = torch.arange(n) % 2 == 0
        return torch.zeros(n, self.width), known if self.width == 3 else known[:, None].expand(n, self.width)


def test_layers_of_which_a_target_knows_nothing_cost_nothing():
    model, x = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2)), torch.randn(4, 2)
    engine = Engine(Objective("mine", [Term("layer", output=tap("0"), target=Known(3), loss=feature_mse)]))
    engine.begin([0, 1])
    wanted = model[0](x)[::2].square().mean(1).sum() / 4
    torch.testing.assert_close(
        torch.as_tensor(engine.loss(model, x, torch.zeros(4).long()).parts["layer"]), wanted.detach()
    )


def test_a_target_of_fewer_classes_is_compared_where_it_knows_them():
    model, x = torch.nn.Linear(2, 5), torch.randn(4, 2)
    engine = Engine(Objective("mine", [Term("logits", target=Known(2), loss=probability_mse)]))
    engine.begin(range(5))
    found = engine.loss(model, x, torch.zeros(4).long()).parts["logits"]
    wanted = (model(x)[::2, :2].softmax(1) - 0.5).square().mean(1).sum() / 4
    torch.testing.assert_close(torch.as_tensor(found), wanted.detach())
