"""Specialists over confusable classes, and one network of them all: CIFAR-100. Hinton, Vinyals & Dean 2015, section 5.

    python benchmarks/distillation/specialists.py --data-root D --seeds 3 --out runs/distillation

50 images a class, cropped and flipped; a fifth is held out, and says which classes the generalist confuses: 8 clusters.
A specialist begins as the generalist with another head, for its cluster and a dustbin, and is trained for 5 epochs of
as many draws as its cluster has images twice, half of them of the cluster. The merged teacher fits the generalist's and
the specialist's predictions (eq. 5). The control is the generalist trained on for as many draws as a specialist, of all
classes. All networks are tiny-resnets. Two students of the same seed, recipe kd: one of the generalist alone, one of
the merged teacher.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import mean
from typing import Any

import torch
from image_runs import augmented, markdown, measures, of, options, predict, told, train
from text_runs import Results
from torch import Tensor, nn

from ckd import Fixed, recipes
from ckd.data import Arrays
from ckd.data.sources.cifar import cifar100
from ckd.networks import network
from ckd.outputs import logits
from ckd.teachers import Specialists, confusable_classes, dustbin_shift, specialist_labels, specialist_weights

PER_CLASS, EPOCHS, CLUSTERS = 50, 12, 8
SPECIAL_EPOCHS, SPECIAL_RATE = 5, 0.01
METHODS = ("generalist", "trained on", "merged", "student of the generalist", "student of the merged")


def specialist(generalist: nn.Module, arrays: Arrays, classes: tuple[int, ...], seed: int) -> nn.Module:
    """A copy of the generalist that learns to tell these classes from each other and from all others."""
    torch.manual_seed(seed)
    own = copy.deepcopy(generalist).requires_grad_(True)
    own[-1] = nn.Linear(own[-1].in_features, len(classes) + 1)
    draws = 2 * int(torch.isin(arrays.y_train, torch.tensor(classes)).sum()) * SPECIAL_EPOCHS
    generator = torch.Generator().manual_seed(seed)
    weights = specialist_weights(arrays.y_train, classes)
    rows = torch.multinomial(weights, draws, replacement=True, generator=generator)
    return trained_on(own, arrays, rows, specialist_labels(arrays.y_train[rows], classes), seed)


def control(generalist: nn.Module, arrays: Arrays, seed: int) -> nn.Module:
    """A copy of the generalist that sees as much more of all classes as a specialist sees on average."""
    draws = 2 * len(arrays.y_train) * SPECIAL_EPOCHS // CLUSTERS
    rows = torch.randint(len(arrays.y_train), (draws,), generator=torch.Generator().manual_seed(seed))
    own = copy.deepcopy(generalist).requires_grad_(True)
    return trained_on(own, arrays, rows, arrays.y_train[rows], seed)


def trained_on(network: nn.Module, arrays: Arrays, rows: Tensor, labels: Tensor, seed: int) -> nn.Module:
    """The network after one pass over these samples with these labels."""
    drawn = replace(arrays, x_train=arrays.x_train[rows], y_train=labels)
    return train(network, recipes.naive(), augmented(drawn), labels, epochs=1, seed=seed, lr=SPECIAL_RATE)


def merged(generalist: nn.Module, arrays: Arrays, seed: int) -> Specialists:
    """The generalist and a specialist for each cluster of classes that it confuses on the held-out images."""
    probabilities = predict(generalist, arrays.prepare(arrays.x_test)).softmax(1)
    clusters = confusable_classes(probabilities, CLUSTERS, seed=seed)
    print(f"  clusters of {', '.join(str(len(classes)) for classes in clusters)} classes", flush=True)
    shifts = [dustbin_shift(arrays.y_train, classes) for classes in clusters]
    networks = {classes: specialist(generalist, arrays, classes, seed) for classes in clusters}
    return Specialists(generalist, networks, dustbin_shifts=shifts)


def within(found: Tensor, labels: Tensor, specialists: Mapping[tuple[int, ...], Any]) -> float:
    """Percent of the samples (logits (N, C)) whose most probable class is of the cluster of their label."""
    cluster = torch.zeros(found.shape[1], dtype=torch.int64)
    for k, classes in enumerate(specialists):
        cluster[list(classes)] = k
    return 100 * (cluster[found.argmax(1)] == cluster[labels]).float().mean().item()


def run_seed(results: Results, whole: Arrays, seed: int) -> None:
    """The generalist, the merged teacher and both students."""
    some = whole.limited(PER_CLASS, seed)
    arrays, test = some.holding_out(0.2, seed), some.prepare(some.x_test)

    def learnt(objective: Any, start: int) -> nn.Module:
        torch.manual_seed(start)
        student = network("tiny-resnet", arrays.input_shape, arrays.n_classes)
        return train(student, objective, augmented(arrays), arrays.y_train, epochs=EPOCHS, seed=start)

    generalist = functools.cache(lambda: learnt(recipes.naive(), seed))
    teacher = functools.cache(lambda: merged(generalist(), arrays, seed))

    made: dict[str, Callable[[], Any]] = {
        "generalist": generalist,
        "trained on": lambda: control(generalist(), arrays, seed),
        "merged": teacher,
        "student of the generalist": lambda: learnt(recipes.kd(generalist()), seed + 1000),
        "student of the merged": lambda: learnt(recipes.kd(teacher()), seed + 1000),
    }

    def measured(method: str) -> dict[str, float]:
        one = made[method]()
        asked = one if isinstance(one, Specialists) else Fixed(one)
        found = torch.cat([asked.outputs(x)[logits] for x in test.split(100)])
        return {**measures(found, some.y_test), "right cluster": within(found, some.y_test, teacher().specialists)}

    for method in METHODS:
        results.run({"method": method, "seed": seed}, functools.partial(measured, method))


def table(results: Results) -> str:
    """What was measured, and what each adds to the generalist by seed."""
    columns = {"accuracy": 2, "right cluster": 2, "NLL": 3, "calibration error": 2}
    first, lines = of(results.rows, "accuracy", method="generalist"), []
    for method in METHODS:
        gains = [a - b for a, b in zip(of(results.rows, "accuracy", method=method), first, strict=True)]
        shown = [told(of(results.rows, what, method=method), digits) for what, digits in columns.items()]
        lines.append([method, *shown, f"{mean(gains):+.2f} ({', '.join(f'{gain:+.2f}' for gain in gains)})"])
    return markdown(["method", *columns, "over the generalist, by seed"], lines)


if __name__ == "__main__":
    chosen = options(__doc__)
    results, data = Results(chosen.out / "specialists.json"), cifar100(chosen.data_root)
    for seed in range(chosen.seeds):
        run_seed(results, data, seed)
    print(table(results))
