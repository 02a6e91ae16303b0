"""Runs with soft labels in the place of the teacher that wrote them: the same students, bit by bit."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ckd import Engine, Fixed, SelfDistillation, Term, recipes
from ckd.data import FixedViews
from ckd.data.preparation import Normalise, Preparation, RandomCrop, RandomFlip, Scale
from ckd.errors import DataError
from ckd.losses import kd
from ckd.objective import replay, stream, teacher
from ckd.teachers import SoftLabels, write_soft_labels
from ckd.views import Mixup, Noise


class Noted(nn.Module):
    """A network that notes the batches that it is shown."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.shown = inner, []

    def forward(self, x):
        self.shown.append(x.clone())
        return self.inner(x)


def objective(given):
    """The stream, the memory, and views of both."""
    terms = [
        Term("as it is", stream, teacher("large"), kd, weight=0.5),
        Term("replayed", replay("a"), teacher("large"), kd),
        Term("noisy", stream, teacher("large"), kd, view=Noise(0.1), weight=0.5),
        Term("mixed", replay("b"), teacher("large"), kd, view=Mixup(), weight=0.5),
    ]
    return recipes.er(memory_size=20).extend(*terms, name="own", teachers={"large": given})


def in_a_plain_loop(given, student, experiences):
    engine, optimizer = Engine(objective(given)), torch.optim.SGD(student.parameters(), lr=0.1)
    for x, y in experiences:
        engine.begin(y.unique().tolist())
        for bx, by in zip(torch.split(x, 8), torch.split(y, 8), strict=True):
            optimizer.zero_grad()
            engine.loss(student, bx, by).backward()
            optimizer.step()
            engine.after_update(optimizer)
        engine.end((x, y))
    return student.state_dict()


def test_a_plain_loop(blobs, network, tmp_path):
    live = Noted(network(seed=1))
    wanted = in_a_plain_loop(Fixed(live), network(), blobs())
    shown, live.shown = live.shown, []
    labels = write_soft_labels(tmp_path / "labels", live.inner, shown, dtype="float32")
    found = in_a_plain_loop(labels, network(), blobs())
    assert live.shown == []
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_avalanche(blobs, benchmark_of, network, naive, train, same, tmp_path):
    def run(given):
        return train(naive(network(), [SelfDistillation(objective(given))], epochs=2), benchmark_of(blobs()))

    live = Noted(network(seed=1))
    wanted = run(Fixed(live))
    labels = write_soft_labels(tmp_path / "labels", live.inner, live.shown, dtype="float32")
    assert same(run(labels), wanted)


def test_in_float16_the_student_is_nearly_that_of_the_live_teacher(blobs, network, tmp_path):
    live = Noted(network(seed=1))
    wanted = in_a_plain_loop(Fixed(live), network(), blobs())
    labels = write_soft_labels(tmp_path / "labels", live.inner, live.shown)
    found = in_a_plain_loop(labels, network(), blobs())
    assert all(torch.allclose(found[name], wanted[name], atol=2e-3) for name in wanted)


def test_distilled_over_fixed_views_in_another_order(tmp_path):
    """The recipe, epochs over three views, batches shuffled; against plain PyTorch."""
    images = torch.randint(256, (30, 3, 6, 6), dtype=torch.uint8)
    y = torch.randint(4, (30,))
    prepare = Preparation((RandomCrop(1), RandomFlip(), Scale(), Normalise((0.5,) * 3, (0.2,) * 3)))
    large, small, other = (nn.Sequential(nn.Flatten(), nn.Linear(108, 4)) for _ in range(3))
    other.load_state_dict(small.state_dict())
    write_soft_labels(tmp_path / "labels", large, FixedViews(images, prepare, views=3, seed=5).batches(10))
    views = FixedViews(images, prepare, views=3, seed=5)
    labels = SoftLabels.read(tmp_path / "labels", teacher=large, inputs=views.inputs(2))
    engine = Engine(recipes.distilled(labels))
    engine.begin(classes=range(4))
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.05) for model in (small, other)]
    for epoch in range(4):
        for rows in torch.split(torch.randperm(30), 7):
            x = views.inputs(epoch % 3, rows)
            loss = engine.loss(small, x, y[rows])
            with torch.no_grad():
                soft = large(x).half().float()
            z = other(x)
            divergence = F.kl_div((z / 4).log_softmax(1), (soft / 4).log_softmax(1), reduction="none", log_target=True)
            plain = 0.1 * F.cross_entropy(z, y[rows]) + 0.9 * 16 * divergence.sum(1).mean()
            torch.testing.assert_close(loss.total, plain, rtol=1e-4, atol=1e-5)
            for optimizer, value in zip(optimizers, (loss, plain), strict=True):
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
            engine.after_update(optimizers[0])
    with pytest.raises(DataError, match=r"augmentation of another seed|other data, preparation"):
        engine.loss(small, FixedViews(images, prepare, views=3, seed=6).inputs(0), y)
