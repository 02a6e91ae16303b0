"""Views of single samples, chains of views, and what every view promises a step."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from ckd import Engine, Memory, Objective, Snapshot, Term
from ckd.data.preparation import RandomCrop, RandomFlip
from ckd.errors import ConfigError
from ckd.losses import cross_entropy, kd, soft_cross_entropy
from ckd.memory import Rows
from ckd.objective import Batch, Shown, replay, stream, teacher
from ckd.views import Augmented, Chain, Collage, Mixup, Noise, RandomResizedCrop, anyone, patches, rectangle, same_class

VIEWS = [
    partial(Collage),
    partial(Collage, 3, patches(2), same_class),
    partial(Collage, mask=rectangle),
    partial(Mixup, anyone),
    partial(Mixup, labels=True),
    partial(Augmented, RandomCrop(2)),
    partial(Noise, 0.3),
    partial(RandomResizedCrop, 0.5),
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
def test_equal_views_of_a_draw_are_shown_once_and_the_teacher_sees_what_the_student_saw(make):
    rows = Memory(20)
    n = torch.arange(20)
    rows.add(Rows(batch_of(20).inputs, n % 3, n * 0, n % 2))
    soft = partial(soft_cross_entropy, temperature=1.0)
    terms = [
        Term("one", replay("a"), target=teacher("past"), loss=soft, view=make()),
        Term("plain", replay("a"), loss=cross_entropy),
        Term("same", replay("a"), target=teacher("past"), loss=kd, view=make()),
        Term("another", replay("a"), loss=cross_entropy, view=Noise(0.7)),
        Term("of the stream", stream, target=teacher("past"), loss=soft, view=make()),
    ]
    past = Snapshot()
    engine = Engine(Objective("x", terms, memory=rows, teachers={"past": past}))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(108, 3))
    inputs, labels = batch_of().inputs, n[:8] % 3
    engine.begin(range(3))
    engine.loss(model, inputs, labels)
    engine.moment.iteration += 1  # the memory stays as it is
    engine.end()
    seen = []
    past.model.module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    engine.begin(range(3))
    step = engine.step(model, inputs, labels)
    a = replay("a")
    assert step.plan.shown == [Shown(a), Shown(a, make()), Shown(a, Noise(0.7)), Shown(stream, make())]
    engine.receive(model(step.inputs))
    losses = {name: value for name, (_, value) in step.values().items()}
    found, _ = seen  # the draw, once for two terms; and the stream
    assert found is step.batch(Shown(a, make())).inputs
    assert not torch.equal(found, step.batch(a).inputs)
    wanted = -(model(found).softmax(1) * model(found).log_softmax(1)).sum(1).mean()
    assert losses["one"].item() == pytest.approx(wanted.item(), rel=1e-6)
    assert np.isclose(losses["same"].item(), 0, atol=1e-6)  # the teacher is the student here
    assert losses["another"].item() == pytest.approx(
        torch.nn.functional.cross_entropy(model(step.batch(Shown(a, Noise(0.7))).inputs), step.batch(a).targets).item(),
        rel=1e-6,
    )


@pytest.mark.parametrize("views", [(Noise(0.1), None), [Noise(0.1)], Noise(0.1), (Noise(0.1), "flip")], ids=range(4))
def test_what_is_no_tuple_of_views_makes_no_chain(views):
    with pytest.raises(ConfigError, match="chain: expected a tuple of views"):
        Chain(views)
