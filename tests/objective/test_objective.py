"""Objectives: what they are made of, how one is made from another, and what is refused."""

import pickle
from functools import partial

import pytest
import torch
from torch import nn

from ckd import Adaptor, Ema, Engine, Fixed, Memory, Objective, Snapshot, Term, recipes, tap
from ckd.anchors import Anchor, Diagonal
from ckd.errors import ConfigError
from ckd.heads import BiasCorrection, NearestMean, WeightAligning
from ckd.losses import cross_entropy, feature_distance, kd, logit_mse
from ckd.memory import RefreshedMemory
from ckd.objective import (
    best_teacher,
    features,
    implanted_logits,
    old_or_current,
    replay,
    stored_logits,
    stream,
    teacher,
    union,
)
from ckd.part import Part
from ckd.recipes import RECIPES
from ckd.views import Chain, Collage, Mixup


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Objective("x", [Term("1", stream)]), "expected a loss"),
        (lambda: Objective("x", [Term("1", replay("a"), loss=kd)]), "expected a memory"),
        (lambda: Objective("x", [Term("1", stream, stored_logits, kd)], memory=Memory(1)), "from memory"),
        (lambda: Objective("x", [Term("1", stream, teacher("t"), kd)]), "Snapshot"),
        (lambda: Objective("x", [Term("1", stream, best_teacher(("t",)), kd)]), "Snapshot"),
        (lambda: Objective("x", [Term("1", stream, loss=kd)] * 2), "different names"),
        (lambda: Objective("x", [Term("criterion", stream, loss=kd)]), "different names"),
        (lambda: Objective("x", criterion=Term("c", union(replay("a")))), "expected a memory"),
        (lambda: Objective("x", memory=Memory(1), memory_batch_size=0), "1 or more"),
        (lambda: Objective("x", ["replay"]), r"each a Term.*Term\('replay', replay\('a'\), loss=kd\)"),
        (lambda: Objective("x", teachers={"t": nn.Linear(2, 2)}), r"a Teacher.*Use Fixed\(network\)"),
        (lambda: Objective("x", anchor=Anchor(Snapshot(), Diagonal())), r"Name it, as in teachers="),
        (lambda: Objective("x", evaluation=nn.Linear(2, 2)), "Derive it from ckd.part.Part"),
    ],
)
def test_what_cannot_work_is_refused_at_construction(make, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make()
    assert all(isinstance(text, str) and text for text in (caught.value.what, caught.value.fix))


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        (Term("criterion", draw=union(replay("a")), groups=old_or_current), "a loss"),
        (Term("criterion", draw=stream, output=features), "a loss"),
        (Term("criterion", draw=replay("a"), loss=cross_entropy), "the stream"),
        (Term("criterion", draw=stream, target=stored_logits, loss=logit_mse), "a draw from memory"),
    ],
)
def test_a_criterion_that_cannot_work_is_refused(criterion, expected):
    with pytest.raises(ConfigError, match=expected) as caught:
        Objective("mine", criterion=criterion, memory=Memory(20))
    assert isinstance(caught.value.fix, str)


@pytest.mark.parametrize("gamma", [0, 1])
def test_the_bound_of_implanted_logits_may_be_0_or_1(gamma):
    assert implanted_logits(gamma).gamma == gamma


@pytest.mark.parametrize("gamma", [-0.1, 1.1, float("nan"), "a"])
def test_the_bound_of_implanted_logits_is_checked(gamma):
    with pytest.raises(ConfigError, match="from 0 to 1"):
        implanted_logits(gamma)


@pytest.mark.parametrize("draw", [stream, union(replay("a")), "a"], ids=str)
def test_a_union_is_of_the_stream_and_a_draw_from_memory(draw):
    with pytest.raises(ConfigError, match=r'Use union\(replay\("a"\)\)'):
        union(draw)


MIXES = {
    "mixup": (Mixup(), False),
    "mixup of labels": (Mixup(labels=True), True),
    "collage": (Collage(), False),
    "chain": (Chain((Mixup(labels=True), Collage())), False),
    "chain that mixes labels": (Chain((Mixup(labels=True),)), True),
}


@pytest.mark.parametrize(("view", "mixes_labels"), MIXES.values(), ids=MIXES)
def test_a_mixture_of_samples_has_no_target_of_one_sample(view, mixes_labels):
    def with_target(target, **more):
        return Objective("x", [Term("1", replay("a"), target, kd, view=view)], memory=Memory(2), **more)

    with pytest.raises(ConfigError, match="a target that holds for mixed samples"):
        with_target(stored_logits)
    with pytest.raises(ConfigError, match="a target that holds for mixed samples"):
        with_target(best_teacher(("t",)), teachers={"t": Snapshot()})
    with_target(teacher("t"), teachers={"t": Snapshot()})
    labelled = Term("1", replay("a"), loss=cross_entropy, view=view)
    if mixes_labels:
        Objective("x", [labelled], memory=Memory(2))
    else:
        with pytest.raises(ConfigError, match=r"Mixup\(labels=True\)"):
            Objective("x", [labelled], memory=Memory(2))


# one from another ----------------------------------------------------------------------------------------------------


def test_a_sum_is_a_new_objective_with_one_more_term_and_the_same_parts():
    base, term = recipes.der_plus_plus(memory_size=20), Term("more", replay("c"), loss=cross_entropy)
    grown = base + term
    assert [one.name for one in grown.terms] == ["logits", "labels", "more"]
    assert [one.name for one in base.terms] == ["logits", "labels"]
    assert grown.terms[2] is term
    assert grown.name == base.name == "der++"
    assert grown.memory is base.memory
    assert grown.generator is base.generator


def test_extending_changes_what_it_is_told_and_keeps_the_rest():
    base = recipes.tether(memory_size=20, memory_batch_size=7)
    other = Term("criterion", draw=stream, loss=cross_entropy)
    one, two = Term("1", replay("x"), loss=cross_entropy), Term("2", target=teacher("other"), loss=kd)
    grown = base.extend(one, two, name="mine", teachers={"other": Snapshot()}, criterion=other, memory_batch_size=9)
    assert grown.name == "mine"
    assert list(grown.teachers) == ["snapshot", "other"]
    assert grown.teachers["snapshot"] is base.teachers["snapshot"]
    assert (grown.anchor, grown.evaluation, grown.corrections) == (base.anchor, base.evaluation, base.corrections)
    assert (grown.criterion, grown.memory_batch_size) == (other, 9)
    assert [term.name for term in grown.terms] == ["logits", "labels", "distillation", "1", "2"]
    assert (base.criterion, base.memory_batch_size, list(base.teachers)) == (None, 7, ["snapshot"])


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (Term("labels", replay("c"), loss=cross_entropy), "different names"),
        (Term("kd", target=teacher("past"), loss=kd), "Snapshot"),
        (Term("more", replay("c")), "expected a loss"),
    ],
)
def test_a_sum_that_cannot_work_is_refused(term, message):
    with pytest.raises(ConfigError, match=message):
        recipes.der_plus_plus() + term


def test_what_is_no_argument_of_an_objective_is_refused():
    with pytest.raises(TypeError):
        recipes.er().extend(memori=Memory(3))


def test_a_sum_that_matches_stored_logits_makes_the_memory_keep_them():
    base = recipes.er(memory_size=20)
    assert not base.memory.keep_logits
    assert (base + Term("logits", replay("b"), stored_logits, logit_mse)).memory.keep_logits


def composed(name):
    """A recipe, put together from its own terms one by one."""
    whole = RECIPES[name].build()
    empty = Objective(
        whole.name,
        criterion=whole.criterion,
        memory=whole.memory,
        teachers=whole.teachers,
        anchor=whole.anchor,
        limit=whole.limit,
        corrections=whole.corrections,
        evaluation=whole.evaluation,
        memory_batch_size=whole.memory_batch_size,
        joint_with_batchnorm=whole.joint_with_batchnorm,
        needs_boundaries=whole.needs_boundaries,
    )
    for term in whole.terms:
        empty = empty + term
    return whole, empty


@pytest.mark.parametrize("name", sorted(n for n, r in RECIPES.items() if not r.teacher))
def test_every_recipe_is_the_sum_of_its_terms(name):
    whole, summed = composed(name)
    own = {"parts", "needs_head", "generator"}
    mine, wanted = ({k: v for k, v in vars(one).items() if k not in own} for one in (summed, whole))
    assert mine == wanted
    assert torch.equal(summed.generator.get_state(), whole.generator.get_state())
    assert list(summed.parts.items()) == list(whole.parts.items())
    assert list(whole.extend().parts.items()) == list(whole.parts.items())


@pytest.mark.parametrize("name", sorted(n for n, r in RECIPES.items() if not r.teacher))
def test_every_recipe_put_together_term_by_term_learns_the_same_numbers(name, blobs, network):
    if RECIPES[name].strategy != "Naive":
        pytest.skip("a reference without terms")
    ends = [run(objective, blobs(), network()) for objective in (RECIPES[name].build(), composed(name)[1])]
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))


def run(objective, experiences, student):
    """The weights after training on the experiences in order."""
    engine, optimizer = Engine(objective), torch.optim.SGD(student.parameters(), lr=0.1)
    for x, y in experiences:
        engine.begin(y.unique().tolist())
        for bx, by in zip(x.split(8), y.split(8), strict=True):
            optimizer.zero_grad()
            engine.loss(student, bx, by).backward()
            optimizer.step()
            engine.after_update(optimizer)
        engine.end((x, y))
    return [parameter.detach() for parameter in student.parameters()]


# parts ---------------------------------------------------------------------------------------------------------------


def test_parts_are_named_in_the_order_of_their_calls_and_each_is_there_once():
    both, snapshot, adaptor = Ema(0.9), Snapshot(), Adaptor()
    hidden = Term("hidden", target=teacher("b", output=tap("1")), loss=feature_distance, output=tap("1"))
    objective = Objective(
        "x",
        [
            Term("1", target=teacher("a", output=tap("1")), loss=feature_distance, output=tap("1"), adaptor=adaptor),
            Term("2", target=teacher("b", output=tap("1")), loss=feature_distance, output=tap("1"), adaptor=[adaptor]),
            hidden,
        ],
        memory=Memory(3),
        corrections=[WeightAligning()],
        evaluation=[both, NearestMean()],
        teachers={"a": both, "b": snapshot},
        anchor=Anchor(snapshot, Diagonal()),
    )
    names = ["memory", "correction 0", "evaluation default 0", "evaluation default 1", "teacher b", "anchor"]
    assert list(objective.parts) == [*names, "adaptor 0 of 1"]
    assert objective.parts["evaluation default 0"] is both


class Equal(Part):
    """Equal to every other one."""

    def __init__(self):
        self.updates = 0

    def __eq__(self, other):
        return isinstance(other, Equal)

    __hash__ = object.__hash__

    def __call__(self, moment):
        return 1.0

    def after_update(self, update):
        self.updates += 1


def test_parts_that_are_equal_are_still_two():
    weights = Equal(), Equal()
    terms = [Term(str(i), loss=cross_entropy, weight=weight) for i, weight in enumerate(weights)]
    run(Objective("x", terms), [(torch.randn(8, 3), torch.arange(8) % 2)], nn.Linear(3, 2))
    assert [weight.updates for weight in weights] == [1, 1]


@pytest.mark.parametrize(
    ("objective", "needs"),
    [
        (Objective("x"), False),
        (Objective("x", [Term("1", target=teacher("t"), loss=kd)], teachers={"t": Snapshot()}), False),
        (Objective("x", evaluation=NearestMean()), True),
        (Objective("x", corrections=[WeightAligning()]), True),
        (Objective("x", evaluation=BiasCorrection()), False),
        (recipes.bfp(), True),
        (recipes.icarl(), True),
        (recipes.er(), False),
    ],
)
def test_the_head_is_looked_for_where_somebody_looks_at_it(objective, needs):
    assert objective.needs_head == needs


def test_a_loss_with_settings_can_be_pickled():
    term = Term("kd", target=teacher("t"), loss=partial(kd, temperature=3.0))
    again = pickle.loads(pickle.dumps(Objective("x", [term], teachers={"t": Fixed(nn.Linear(2, 2))})))
    assert again.terms[0].loss.keywords == {"temperature": 3.0}


def test_implanting_makes_a_refreshed_memory_keep_logits():
    filled = RefreshedMemory(3)
    Objective("x", [Term("1", replay("a"), implanted_logits(0.8), logit_mse)], memory=filled)
    assert filled.keep_logits


def test_it_shows_what_it_is_made_of_and_a_missing_teacher_is_told_the_known_ones():
    objective = recipes.lwf().extend(memory=Memory(7))
    assert repr(objective) == "<Objective 'lwf', terms: distillation, teachers: snapshot, memory of 7>"
    told = r"received 'past'. Write teacher\('snapshot'\). Pass .*Snapshot.* for another"
    with pytest.raises(ConfigError, match=told):
        objective + Term("hint", target=teacher("past"), loss=kd)
