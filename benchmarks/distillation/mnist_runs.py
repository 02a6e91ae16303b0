"""What the experiments on MNIST share: the networks of Hinton, Vinyals & Dean 2015, a loop, and the trained teacher.

arXiv:1503.02531, section 3. The teacher has dropout, weights of bounded norm and images moved by up to 2 pixels; a
student has none of these.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from ckd import Engine, Objective, recipes
from ckd.data import Arrays, FixedViews
from ckd.data.preparation import Preparation, RandomCrop, Scale
from ckd.deploy import load_network, save_network
from ckd.teachers import SoftLabels, write_soft_labels

CLASSES, PIXELS, JITTER = 10, 28 * 28, 2
ADAM = partial(torch.optim.Adam, fused=True)


@dataclass(frozen=True)
class Training:
    """How a network is trained; the rate falls to 0 as a cosine.

    Attributes:
        optimizer: of parameters and a rate.
        warm_up: steps over which the rate rises in a line.
        max_norm: of the weights into each unit, kept after every step; None leaves them.
    """

    epochs: int
    lr: float
    optimizer: Callable[..., torch.optim.Optimizer] = ADAM
    batch: int = 256
    warm_up: int = 0
    max_norm: float | None = None


TEACHER = Training(
    epochs=45,
    lr=0.15,
    optimizer=partial(torch.optim.SGD, momentum=0.9, nesterov=True, fused=True),
    warm_up=500,
    max_norm=15**0.5,
)
"""The bound is that of Hinton et al. 2012, arXiv:1207.0580: a squared length of 15."""

LAST = Training(epochs=8, lr=5e-4)
"""Without dropout, after these."""


def student(width: int) -> nn.Sequential:
    """784-width-width-10 with ReLU."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(PIXELS, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, CLASSES),
    )


def teacher_network(width: int = 1200) -> nn.Sequential:
    """The same with dropout: of a fifth of the pixels and half of the hidden units."""
    flat, first, relu, second, _, head = student(width)
    return nn.Sequential(flat, nn.Dropout(0.2), first, relu, nn.Dropout(0.5), second, nn.ReLU(), nn.Dropout(0.5), head)


def unshifted(images: Tensor) -> FixedViews:
    """The images (N, 1, 28, 28) themselves."""
    return FixedViews(images, Preparation((Scale(),)))


def jittered(images: Tensor, views: int, seed: int = 0) -> FixedViews:
    """So many views of each image, moved by up to 2 pixels."""
    return FixedViews(images, Preparation((RandomCrop(JITTER), Scale())), views=views, seed=seed)


def train(
    network: nn.Module,
    objective: Objective,
    views: FixedViews,
    labels: Tensor,
    how: Training,
    seed: int,
    *,
    resumed: Path | None = None,
) -> nn.Module:
    """Train in place, a view an epoch; with `resumed`, a file of the state that a killed run goes on from."""
    engine, generator = Engine(objective), torch.Generator().manual_seed(seed)
    optimizer = how.optimizer(network.parameters(), lr=how.lr)
    n = how.epochs * math.ceil(len(labels) / how.batch)

    def rate(step: int) -> float:
        risen = (step + 1) / how.warm_up if how.warm_up else 1.0
        return min(risen, (1 + math.cos(math.pi * step / n)) / 2)

    schedule = LambdaLR(optimizer, rate)
    stateful = {"network": network, "optimizer": optimizer, "schedule": schedule}
    first = 0
    if resumed is not None and resumed.exists():
        state = torch.load(resumed, weights_only=True)
        first = state["epochs"]
        torch.set_rng_state(state["torch"])
        generator.set_state(state["generator"])
        for name, part in stateful.items():
            part.load_state_dict(state[name])
    engine.begin(range(CLASSES))
    network.train()
    for epoch in range(first, how.epochs):
        for rows in torch.randperm(len(labels), generator=generator).split(how.batch):
            optimizer.zero_grad()
            engine.loss(network, views.inputs(epoch % views.views, rows), labels[rows]).backward()
            optimizer.step()
            engine.after_update(optimizer)
            schedule.step()
            if how.max_norm is not None:
                bound(network, how.max_norm)
        losses = ", ".join(f"{name} {value:.4f}" for name, value in engine.mean_losses().items())
        print(f"  epoch {epoch + 1}: {losses}", flush=True)
        if resumed is not None and (epoch + 1) % 2 == 0:
            state = {name: part.state_dict() for name, part in stateful.items()}
            draws = {"torch": torch.get_rng_state(), "generator": generator.get_state()}
            torch.save({**state, **draws, "epochs": epoch + 1}, resumed)
    return network.eval()


@torch.no_grad()
def bound(network: nn.Module, max_norm: float) -> None:
    """Shorten what is longer: the weights into each unit."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.renorm_(2, 0, max_norm)


@torch.no_grad()
def logits_of(network: nn.Module, images: Tensor) -> Tensor:
    """Of raw images (N, 1, 28, 28), in eval mode: (N, 10)."""
    network.eval()
    return torch.cat([network(x) for x in unshifted(images).batches(1000)])


def trained_teacher(
    file: Path, arrays: Arrays, how: Training = TEACHER, width: int = 1200, last: Training | None = None
) -> nn.Module:
    """The teacher in `file`; trained first, on all training images, unless it is there.

    With `last` it is trained on, with new views and without dropout.
    """
    torch.manual_seed(0)
    network = teacher_network(width)
    if file.exists():
        load_network(file, into=network)
        return network.eval()
    views, labels = jittered(arrays.x_train, how.epochs), arrays.y_train
    train(network, recipes.naive(), views, labels, how, 0, resumed=file.with_suffix(".part"))
    if last is not None:
        for layer in network.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0
        train(network, recipes.naive(), jittered(arrays.x_train, last.epochs, seed=2), labels, last, 0)
    save_network(file, network, width=width)
    return network


def stored_labels(file: Path, teacher: nn.Module, views: FixedViews) -> SoftLabels:
    """The teacher's logits for every view, in `file`; written first unless it is there."""
    if not file.exists():
        write_soft_labels(file, teacher, views.batches(), dtype="float32")
    return SoftLabels.read(file, teacher=teacher)
