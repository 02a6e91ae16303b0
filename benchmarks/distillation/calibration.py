"""Soft targets, calibration and wrong labels: hard labels, smoothed labels and a teacher, on MNIST and CIFAR-10.

    python benchmarks/distillation/calibration.py --data-root D --seeds 3 --out runs/distillation

A share of the training labels is replaced by other classes, drawn evenly; the teacher learns from the same labels. All
students of a seed have the same initial weights, images, views and epochs. MNIST: 5,000 images as they are, two layers
of 100 units; the teacher has two of 400, dropout and shifts by up to 2 pixels. CIFAR-10: 2,000 images, cropped and
flipped, tiny-resnet taught by small-resnet. Temperatures and weights are those of the recipe kd, or T 1 with the same
weights; label smoothing has 0.1, as Szegedy et al. 2016 (arXiv:1512.00567). The test labels are right.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import torch
from image_runs import CIFAR_EPOCHS, WHICH, augmented, markdown, measures, of, options, predict, told, train
from text_runs import Results
from torch import Tensor, nn
from torch.nn import functional as F

from ckd import recipes
from ckd.data import Arrays
from ckd.data.preparation import RandomCrop
from ckd.data.sources.cifar import cifar10
from ckd.data.sources.mnist import mnist
from ckd.networks import network

NOISE = (0.0, 0.2, 0.4)
METHODS = ("teacher", "hard labels", "label smoothing", "distilled, T 4", "distilled, T 1")
SMOOTHED = functools.partial(F.cross_entropy, label_smoothing=0.1)


@dataclass(frozen=True)
class Setting:
    """Of one data set: training images a class, epochs and networks."""

    per_class: int
    epochs: int
    student: str
    teacher: str
    methods: tuple[str, ...] = METHODS


SETTINGS = {
    "MNIST": Setting(500, 20, "mlp", "wide"),
    "CIFAR-10": Setting(200, 10, "tiny-resnet", "small-resnet", METHODS[:-1]),
}


def wide(n_classes: int) -> nn.Module:
    """The teacher of digits."""
    layers = [nn.Linear(784, 400), nn.ReLU(), nn.Dropout(), nn.Linear(400, 400), nn.ReLU(), nn.Dropout()]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(400, n_classes))


def made(name: str, arrays: Arrays) -> nn.Module:
    """A network by name."""
    return wide(arrays.n_classes) if name == "wide" else network(name, arrays.input_shape, arrays.n_classes)


def with_wrong(labels: Tensor, share: float, seed: int) -> Tensor:
    """Labels (N,) of which that share is wrong."""
    generator, n = torch.Generator().manual_seed(seed), int(labels.max()) + 1
    rows = torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]
    found = labels.clone()
    found[rows] = (labels[rows] + torch.randint(1, n, rows.shape, generator=generator)) % n
    return found


def learnt(method: str, arrays: Arrays, setting: Setting, seed: int, teacher: Any) -> nn.Module:
    """A trained student, or the teacher."""
    torch.manual_seed(seed)
    run = {"epochs": setting.epochs, "seed": seed}
    if method == "teacher":
        own = arrays if arrays.augment else replace(arrays, augment=(RandomCrop(2),))
        return train(made(setting.teacher, arrays), recipes.naive(), augmented(own), arrays.y_train, **run)
    small, shown = made(setting.student, arrays), augmented(arrays)
    if method == "hard labels":
        return train(small, recipes.naive(), shown, arrays.y_train, **run)
    if method == "label smoothing":
        return train(small, recipes.naive(), shown, arrays.y_train, criterion=SMOOTHED, **run)
    objective = recipes.kd(teacher(), temperature=float(method.split()[-1]))
    return train(small, objective, shown, arrays.y_train, **run)


def run_seed(results: Results, name: str, arrays: Arrays, setting: Setting, noise: float, seed: int) -> None:
    """All methods with the same labels."""
    noisy = replace(arrays, y_train=with_wrong(arrays.y_train, noise, seed))
    teacher = functools.cache(lambda: learnt("teacher", noisy, setting, seed, None))

    def measured(method: str) -> dict[str, Any]:
        found = teacher() if method == "teacher" else learnt(method, noisy, setting, seed, teacher)
        kept = augmented(replace(noisy, augment=()))(0, torch.arange(len(noisy.y_train)), torch.Generator())
        wrong = noisy.y_train != arrays.y_train
        fitted = predict(found, kept[wrong]).argmax(1) == noisy.y_train[wrong] if wrong.any() else torch.zeros(1)
        test = measures(predict(found, arrays.prepare(arrays.x_test)), arrays.y_test)
        return {**test, "wrong labels learnt": 100 * fitted.float().mean().item()}

    for method in setting.methods:
        key = {"data": name, "epochs": setting.epochs, "noise": noise, "method": method, "seed": seed}
        results.run(key, functools.partial(measured, method))


def table(results: Results, name: str, noise: float) -> str:
    """What was measured, of the methods with these labels."""
    digits = {"accuracy": 2, "calibration error": 2, "NLL": 3, "Brier": 3, "wrong labels learnt": 1}
    columns = [what for what in digits if noise or what != "wrong labels learnt"]
    setting, lines = SETTINGS[name], []
    for method in setting.methods:
        key = {"data": name, "epochs": setting.epochs, "noise": noise, "method": method}
        lines.append([method, *(told(of(results.rows, what, **key), digits[what]) for what in columns)])
    return markdown([f"{name}, {noise:.0%} wrong", *columns], lines)


if __name__ == "__main__":
    names = {"choices": list(SETTINGS), "default": list(SETTINGS)}
    chosen = options(__doc__, only={**WHICH, **names}, cifar_epochs=CIFAR_EPOCHS)
    SETTINGS["CIFAR-10"] = replace(SETTINGS["CIFAR-10"], epochs=chosen.cifar_epochs)
    results = Results(chosen.out / "calibration.json")
    for name in chosen.only:
        setting, read = SETTINGS[name], {"MNIST": mnist, "CIFAR-10": cifar10}[name]
        for seed in range(chosen.seeds):
            arrays = read(chosen.data_root).limited(setting.per_class, seed)
            for noise in NOISE:
                run_seed(results, name, arrays, setting, noise, seed)
    for name in chosen.only:
        for noise in NOISE:
            print(table(results, name, noise), end="\n\n")
