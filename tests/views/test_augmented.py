"""Views of single samples, chains of views, and what every view promises a step."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from ckd import Memory, Objective, Snapshot, Term
from ckd.data.preparation import RandomCrop, RandomFlip
from ckd.losses import cross_entropy, kd, soft_cross_entropy
from ckd.memory import Rows
from ckd.objective import STREAM, Batch, Context, Question, memory, stream, teacher
from ckd.views import Augmented, Chain, Collage, Mixup, Noise, anyone, patches, rectangle, same_class

VIEWS = [
    partial(Collage),
    partial(Collage, 3, patches(2), same_class),
    partial(Collage, mask=rectangle),
    partial(Mixup, anyone),
    partial(Augmented, RandomCrop(2)),
    partial(Noise, 0.3),
    lambda: Chain((Augmented(RandomFlip()), Collage(3))),
]
EVERY_VIEW = pytest.mark.parametrize("make", VIEWS)


def batch_of(n=8, seed=0):
    inputs = torch.randn(n, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    label = torch.arange(n)
    return Batch(inputs, label % 3, label, torch.randn(n, 4), label % 2)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_an_augmented_batch_is_that_of_its_step_and_keeps_all_that_is_known():
    batch, step = batch_of(), RandomCrop(2)
    view = Augmented(step)(batch, generator(4))
    assert torch.equal(view.inputs, step(batch.inputs, generator(4)))
    assert not torch.equal(view.inputs, batch.inputs)
    for name in ("targets", "tasks", "logits", "experiences"):
        assert getattr(view, name) is getattr(batch, name)


@pytest.mark.parametrize("std", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_is_normal_with_its_deviation(std, dtype):
    batch = Batch(torch.full((50, 40), 5.0, dtype=dtype), torch.zeros(50).long(), None, logits=torch.ones(50, 2))
    view = Noise(std)(batch, generator())
    added = (view.inputs - batch.inputs).double().numpy().ravel()
    assert view.inputs.dtype == dtype
    assert view.logits is batch.logits
    if std:
        assert kstest(added / std, "norm").pvalue > 0.01
    else:
        assert not added.any()


def test_a_chain_is_its_views_in_order_with_one_generator():
    batch, g = batch_of(), generator(2)
    wanted = Collage(3)(Noise(0.5)(batch, g), g).inputs
    assert torch.equal(Chain((Noise(0.5), Collage(3)))(batch, generator(2)).inputs, wanted)
    assert not torch.equal(Chain((Collage(3), Noise(0.5)))(batch, generator(2)).inputs, wanted)
    assert Chain(())(batch, generator()) is batch


@EVERY_VIEW
def test_draws_come_from_the_generator_alone(make):
    batch, state = batch_of(), torch.random.get_rng_state()
    before = batch.inputs.clone()
    one, same, other = (make()(batch, generator(seed)).inputs for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(batch.inputs, before)
    assert torch.equal(state, torch.random.get_rng_state())


@EVERY_VIEW
def test_views_are_values(make):
    assert make() == make()
    assert hash(make()) == hash(make())
    assert len({make(), make()}) == 1
    assert sum(make() == other() for other in VIEWS) == 1


@EVERY_VIEW
def test_equal_views_of_a_draw_are_one_question_and_the_teacher_sees_what_the_student_saw(make):
    rows = Memory(20)
    n = torch.arange(20)
    rows.add(Rows(batch_of(20).inputs, n % 3, n * 0, n % 2))
    soft = partial(soft_cross_entropy, temperature=1.0)
    terms = [
        Term("one", memory("a"), target=teacher("past"), loss=soft, view=make()),
        Term("plain", memory("a"), loss=cross_entropy),
        Term("same", memory("a"), target=teacher("past"), loss=kd, view=make()),
        Term("another", memory("a"), loss=cross_entropy, view=Noise(0.7)),
        Term("of the stream", stream, target=teacher("past"), loss=soft, view=make()),
    ]
    objective = Objective("x", terms, memory=rows, teachers={"past": Snapshot()})
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(108, 3))
    objective.begin(model, {0: frozenset(range(3))}, per_task=False)
    objective.end(model)
    seen = []

    def ask(model, x, tasks):
        seen.append(x)
        return model(x)

    context = Context(1, 0, objective.classes, ask, lambda raw, g: raw)
    step = objective.step(Batch(batch_of().inputs, n[:8] % 3, None), context)
    a = memory("a")
    assert step.questions == [Question(a, make()), Question(a), Question(a, Noise(0.7)), Question(stream, make())]
    for question in (STREAM, *step.questions):
        step.answer(question, model(step.batch(question).inputs))
    losses = step.losses()
    asked, _ = seen  # the draw, once for two terms; and the stream
    assert asked is step.batch(Question(a, make())).inputs
    assert not torch.equal(asked, step.batch(a).inputs)
    wanted = -(model(asked).softmax(1) * model(asked).log_softmax(1)).sum(1).mean()
    assert losses["one"].item() == pytest.approx(wanted.item(), rel=1e-6)
    assert np.isclose(losses["same"].item(), 0, atol=1e-6)  # the teacher is the student here
