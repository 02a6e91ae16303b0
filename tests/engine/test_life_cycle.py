"""The parts of an objective are called at their moments, each once, in the order in which they build on each other."""

import pytest
import torch
from torch import nn

from ckd import Adaptor, Ema, Engine, Memory, Objective, Snapshot, Term, recipes, tap
from ckd.anchors import Anchor, Diagonal
from ckd.engine.life_cycle import LifeCycle
from ckd.errors import ConfigError
from ckd.losses import cross_entropy, feature_distance
from ckd.memory import Rows
from ckd.objective import replay, teacher
from ckd.part import Part, Update

CALLS = []


@pytest.fixture(autouse=True)
def calls():
    CALLS.clear()
    return CALLS


class Noted(Snapshot):
    """A teacher, correction and evaluation model that notes its calls, and what it finds at them."""

    def __init__(self, name):
        super().__init__()
        self.name = name

    def begin(self, model, classes):
        CALLS.append((self.name, "begin", classes.current.indices))

    def after_update(self, update):
        CALLS.append((self.name, "after_update", update.experience))

    def end(self, ending):
        CALLS.append((self.name, "end", ending.stored() is not None, ending.classes.current.indices))

    def evaluation_model(self, model):
        return model


class NotedMemory(Memory):
    def end(self, ending):
        CALLS.append(("memory", "end", ending.stored() is not None, ending.classes.current.indices))


class NotedAnchor(Anchor):
    def end(self, ending):
        CALLS.append(("anchor", "end", ending.stored() is not None, ending.classes.current.indices))

    def after_update(self, update):
        CALLS.append(("anchor", "after_update", update.experience))


def objective():
    both, home = Noted("evaluation and teacher"), Noted("a")
    filled, n = NotedMemory(20), torch.arange(20)
    filled.add(Rows(torch.randn(20, 3), n % 6, n * 0, n * 0))
    terms = [Term("mine", replay("a"), loss=cross_entropy, weight=Weighing("weight"))]
    return Objective(
        "x",
        terms,
        memory=filled,
        corrections=[Noted("correction")],
        evaluation=both,
        teachers={"a": home, "b": both},
        anchor=NotedAnchor(home, Diagonal()),
    )


class Weighing(Noted):
    def __call__(self, moment):
        return 0.0


def learn(engine, student, optimizer):
    engine.loss(student, torch.randn(4, 3), torch.arange(4) % 2)
    engine.after_update(optimizer)


def test_an_experience_begins_is_followed_and_ends_in_order():
    engine, student = Engine(objective()), nn.Linear(3, 6)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    engine.begin([1])
    assert CALLS == []  # until the student is known
    learn(engine, student, optimizer)
    noted = ["correction", "evaluation and teacher", "a", "weight"]
    first, CALLS[:] = list(CALLS), []
    assert first == [
        *[(name, "begin", [1]) for name in noted],
        ("anchor", "after_update", 0),  # it moves the student, whom the others follow
        *[(name, "after_update", 0) for name in noted],
    ]
    engine.end((torch.randn(4, 3), torch.ones(4, dtype=torch.int64)))
    wanted = ["memory", "correction", "evaluation and teacher", "a", "anchor", "weight"]
    assert [(name, "end", True, [1]) for name in wanted] == CALLS


def test_every_piece_of_an_experience_begins():
    engine, student = Engine(objective()), nn.Linear(3, 6)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    for piece in ([1], [2], [1]):
        engine.begin(piece, piece=True)
        learn(engine, student, optimizer)
        learn(engine, student, optimizer)
    begun = [classes for name, what, classes in CALLS if (name, what) == ("a", "begin")]
    assert begun == [[1], [1, 2], [1, 2]]


def test_only_parts_that_follow_updates_are_called():
    cycle = LifeCycle(objective())
    assert [type(part) for part in cycle._followers] == [NotedAnchor, NotedMemory, Noted, Noted, Noted, Weighing]
    quiet = LifeCycle(Objective("x", [Term("1", target=teacher("t"), loss=cross_entropy)], teachers={"t": Snapshot()}))
    assert quiet._followers == []


def test_the_anchor_moves_the_student_before_the_average_follows():
    """So that the average is of the weights that the step ends with."""
    home, ema = Snapshot(), Ema(0.5)
    pulled = Pulling(home, Diagonal())
    engine = Engine(Objective("x", evaluation=ema, teachers={"home": home}, anchor=pulled))
    student = nn.Linear(3, 2)
    engine.begin([0, 1])
    learn(engine, student, torch.optim.SGD(student.parameters(), lr=0.1))
    start = 0.0  # at its first step the average takes half of the student
    assert torch.allclose(ema.model.module.weight, (pulled.start + start) / 2)
    assert not student.weight.any()


class Pulling(Anchor):
    def after_update(self, update):
        with torch.no_grad():
            self.start = update.model.weight.clone()
            update.model.weight.zero_()


def test_bytes_are_summed_by_what_they_hold():
    hint = Term("h", target=teacher("b", output=tap("0")), output=tap("0"), loss=feature_distance, adaptor=Adaptor())
    teachers = {"a": Snapshot(), "b": Ema(0.9)}
    terms = [hint, Term("r", replay("a"), loss=cross_entropy)]
    engine = Engine(Objective("x", terms, memory=Memory(5), teachers=teachers))
    student = nn.Sequential(nn.Linear(3, 2))
    assert engine.nbytes() == {"inputs": 0, "labels": 0, "logits": 0, "teachers": 0}
    engine.begin([0, 1])
    learn(engine, student, torch.optim.SGD(student.parameters(), lr=0.1))
    engine.end()
    of_network = 4 * (3 * 2 + 2)
    assert engine.nbytes() == {
        "inputs": 5 * 3 * 4,
        "labels": 5 * 3 * 8,
        "logits": 0,
        "teachers": 2 * of_network,
        "adaptors": 4 * (2 * 2 + 2),
    }


def test_the_state_of_other_parts_is_refused():
    one, other = LifeCycle(recipes.lwf()), LifeCycle(recipes.er())
    with pytest.raises(
        ConfigError, match=r"expected memory; received teacher snapshot. .* they differ in: memory, teacher snapshot\."
    ):
        other.load_state_dict(one.state_dict(), nn.Linear(3, 2))
    with pytest.raises(ConfigError, match="received no parts"):
        other.load_state_dict(LifeCycle(recipes.naive()).state_dict(), nn.Linear(3, 2))


def test_a_part_does_nothing_by_default():
    part, update = Part(), Update(None, *[torch.zeros(1)] * 2, None, torch.zeros(1), 0)
    assert part.begin(None, None) is part.after_update(update) is part.end(None) is None
    assert part.state_dict() == part.nbytes() == {}
    part.load_state_dict({}, nn.Linear(1, 1))
