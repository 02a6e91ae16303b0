"""What an objective refuses, word for word, and that it has what it was given."""

import pytest
import torch
from torch import nn

from ckd import Objective
from ckd.anchors import Anchor, Diagonal, StepLimit
from ckd.errors import ConfigError
from ckd.losses import cross_entropy, kd
from ckd.memory import BoundaryMemory, Memory
from ckd.objective import Term, implanted_logits, old, replay, stored_logits, teacher
from ckd.objective.objective import check_objective
from ckd.teachers import Snapshot
from ckd.views import Mixup

RULES = Term("rules", replay("a"), loss=cross_entropy)
MATCHING = Term("x", replay("a"), target=stored_logits, loss=kd)
LWF = Term("lwf", target=teacher("past"), loss=kd)


class Odd:
    def __repr__(self):
        return "odd"


class Labelled(nn.Module):
    takes_labels = True

    def forward(self, student, target, *, labels, classes=None):
        return kd(student, target, classes=classes)

    def __repr__(self):
        return "labelled"


class Used(Diagonal):
    def nbytes(self):
        return 8


def anchored(curvature):
    past = Snapshot()
    return {"teachers": {"past": past}, "anchor": Anchor(past, curvature)}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"teachers": {"t": Odd()}},
            "teacher 't': expected a Teacher; received odd. Use Fixed(network), Snapshot() or Ema().",
        ),
        (
            anchored(Used()),
            "anchor: expected a fresh curvature; received one of an earlier run. Make a new one for each run.",
        ),
        (
            {"anchor": Anchor(Snapshot(), Diagonal())},
            "teacher of the anchor: expected one of the teachers; received another. "
            "Name it, as in teachers={'snapshot': snapshot}.",
        ),
        ({"limit": Odd()}, "limit: expected a StepLimit; received odd. For example limit=StepLimit(2.0)."),
        (
            {"evaluation": Odd()},
            "evaluation model: expected a Part with a method evaluation_model; received odd. "
            "Derive it from ckd.part.Part and give it evaluation_model(model).",
        ),
        (
            {"memory_batch_size": 0},
            "memory batch size: expected 1 or more; received 0. None follows the stream's.",
        ),
        (
            {"terms": [Odd()]},
            "terms: expected each a Term; received odd. For example Term('replay', replay('a'), loss=kd).",
        ),
        (
            {"terms": [Term("x")]},
            "term 'x': expected a loss; received none. Give it one of ckd.losses.",
        ),
        (
            {"terms": [Term("x", loss=cross_entropy)] * 2},
            "names of the terms: expected different names, none of them 'criterion'; received ['x', 'x']. Rename one.",
        ),
        (
            {"criterion": Term("c", groups=old)},
            "criterion: expected a loss; received none, but groups, a target or an output. "
            "Give the term a loss; the training loop's criterion knows neither groups nor targets.",
        ),
        (
            {"criterion": RULES, "memory": Memory(9)},
            "criterion: expected the stream; received Replay(name='a'). "
            "Use draw=union(replay('a')), or a term beside the criterion.",
        ),
        (
            {"terms": [Term("x", loss=cross_entropy, view=Mixup())]},
            "term 'x': expected a target that holds for mixed samples; received Labels(). "
            "Use target=teacher(...), or a view that mixes labels too, as Mixup(labels=True).",
        ),
        (
            {
                "terms": [Term("x", target=teacher("past"), loss=Labelled(), view=Mixup())],
                "teachers": {"past": Snapshot()},
            },
            "term 'x': expected a loss without labels, as mixed samples have several; received labelled. Use kd.",
        ),
        (
            {"terms": [Term("x", target=stored_logits, loss=kd)], "memory": Memory(9)},
            "term 'x': expected a draw from memory; received Stream(). Use draw=replay('a').",
        ),
        (
            {"terms": [MATCHING], "memory": BoundaryMemory(9)},
            "term 'x': expected a memory that keeps logits; received {memory}. Use Memory(200).",
        ),
        ({"terms": [RULES]}, "term 'rules': expected a memory; received none. Pass memory=Memory(200)."),
        (
            {"terms": [Term("x", replay("a"), target=implanted_logits(0.5), loss=kd)], "memory": Memory(9)},
            "term 'x': expected a RefreshedMemory; received Memory. Pass memory=RefreshedMemory(200).",
        ),
        (
            {"terms": [LWF]},
            "teacher of term 'lwf': expected no teachers; received 'past'. Pass teachers={'past': Snapshot()}.",
        ),
        (
            {"terms": [LWF], "teachers": {"old": Snapshot(), "older": Snapshot()}},
            "teacher of term 'lwf': expected old, older; received 'past'. "
            "Write teacher('old'). Pass teachers={'past': Snapshot()} for another.",
        ),
    ],
)
def test_it_says_what_is_wrong(given, said):
    with pytest.raises(ConfigError) as error:
        Objective("mine", **given)
    assert str(error.value) == "objective 'mine', " + said.replace("{memory}", str(given.get("memory")))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("er", "received 'er'. To take a recipe by its name write Engine(recipes.get('er').build(memory_size=200))."),
        (anchored, "Call it: Engine(anchored(...))."),
        (lambda: 0, "Call it: Engine(<lambda>(...))."),
        (Odd(), "received odd. Give it a recipe, such as Engine(recipes.er(memory_size=200))."),
    ],
)
def test_in_the_place_of_an_objective(given, said):
    with pytest.raises(ConfigError) as error:
        check_objective("Engine", given)
    assert str(error.value).startswith("Engine: expected an Objective; received ")
    assert str(error.value).endswith(said)


def test_what_is_called_without_a_name_is_a_build():
    class Build:
        def __call__(self):
            return None

    with pytest.raises(ConfigError, match=r"Call it: Engine\(build\(\.\.\.\)\)\.$"):
        check_objective("Engine", Build())


def test_it_has_what_it_was_given():
    limit = StepLimit(2.0)
    found = Objective("x", limit=limit, joint_with_batchnorm=True, needs_boundaries=True, memory_batch_size=1)
    assert (found.limit, found.joint_with_batchnorm, found.needs_boundaries) == (limit, True, True)
    assert found.memory_batch_size == 1
    plain = Objective("x")
    assert (plain.limit, plain.joint_with_batchnorm, plain.needs_boundaries) == (None, False, False)


def test_its_generator_is_the_memorys_or_begins_at_0():
    memory = Memory(9, seed=3)
    assert Objective("x", [RULES], memory=memory).generator is memory.generator
    begins = torch.Generator().manual_seed(0).get_state()
    assert torch.equal(Objective("x").generator.get_state(), begins)
