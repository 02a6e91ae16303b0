"""What an ensemble is unsure of, and what one network keeps of it: digits; and five networks in one: CIFAR-10.

    python benchmarks/distillation/uncertainty.py --data-root D --seeds 3 --out runs/distillation

Digits: five networks learn 0 to 7, 500 images of each, shifted by up to 2 pixels. The entropy of their mean prediction
is the mean of their entropies (data, aleatoric) and a mutual information (knowledge, epistemic). It is taken on test
digits, on blends (the mean of two test digits of different classes), and on 8 and 9, which nobody was taught. Students
learn from the five without labels, shown what the five were shown, or mixtures of two: `mean` matches the mean of
their probabilities, `split` a Dirichlet distribution of them. Five students of `mean` that differ in their initial
weights and order have a mutual information too.

CIFAR-10: five tiny-resnets, 2,000 images, and one tiny-resnet taught by all five (recipe kd).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from image_runs import CIFAR_EPOCHS, WHICH, augmented, markdown, measures, of, options, predict, told, train
from sklearn.metrics import roc_auc_score
from text_runs import Results
from torch import Tensor, nn

from ckd import Ensemble, Fixed, Objective, Term, recipes
from ckd.data import Arrays
from ckd.data.preparation import RandomCrop
from ckd.data.sources.cifar import cifar10
from ckd.data.sources.mnist import mnist
from ckd.deploy import cost, latencies
from ckd.losses import kd
from ckd.networks import network
from ckd.objective import teacher as output_of
from ckd.teachers import Teacher
from ckd.views import Mixup, anyone

DATA = ["digits", "CIFAR-10"]
MEMBERS, KNOWN, PER_DIGIT, DIGIT_EPOCHS = 5, 8, 500, 12
PER_CLASS, TEMPERATURE = 200, 4.0
SMOOTHING = 1e-4
STUDENTS = 100
"""Added to the seed of the ensemble: students begin elsewhere than any of the five."""
TRANSFER = {"digits": None, "mixtures": Mixup(anyone)}
PARTS = ("total", "data", "knowledge")
METHODS = ("ensemble", *(f"{kind}, {how}" for how in TRANSFER for kind in ("mean", "split")))
Entropies = dict[str, Tensor]


class Mean(nn.Module):
    """Networks as one, whose probabilities are the mean of theirs."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, inputs: Tensor) -> Tensor:
        """Log-probabilities (B, C)."""
        each = torch.stack([one(inputs).log_softmax(1) for one in self.networks])
        return each.logsumexp(0) - math.log(len(each))


class Dirichlet(nn.Module):
    """The Dirichlet distribution of what networks predict, as the logarithms of its α (B, C).

    Its mean is their mean p, its precision (C - 1) / (2 Σ_c p_c (log p_c - mean of log p_c over the networks)):
    Ryabinin et al. 2021, arXiv:2105.06987. Probabilities are mixed with a share of 1e-4 of even ones.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, inputs: Tensor) -> Tensor:
        """log α (B, C): a softmax of it is the mean, the sum of its exponentials the precision."""
        each = torch.stack([one(inputs).softmax(1) for one in self.networks])  # (M, B, C)
        each = (1 - SMOOTHING) * each + SMOOTHING / each.shape[2]
        mean = each.mean(0)
        spread = (mean * (mean.log() - each.log().mean(0))).sum(1, keepdim=True).clamp(min=1e-4)
        return (mean * (mean.shape[1] - 1) / (2 * spread)).log()


def mean_and_precision(student: Tensor, target: Tensor, *, classes: Tensor | None = None) -> Tensor:
    """KL between the means of two Dirichlet distributions, and the squared difference of their log precisions.

    Args:
        student: log α (B, C).
        target: log α (B, C).
        classes: all of them.

    Returns:
        (B,).
    """
    gap = student.logsumexp(1) - target.logsumexp(1)
    return kd(student, target, temperature=1.0, classes=classes) + 0.1 * gap.square()


def of_members(log_p: Tensor) -> Entropies:
    """Entropies (N,) of log-probabilities (M, N, C): of their mean, their own in the mean, and the difference."""
    total, data = entropy(log_p.logsumexp(0) - math.log(len(log_p))), entropy(log_p).mean(0)
    return {"total": total, "data": data, "knowledge": total - data}


def of_dirichlet(log_alpha: Tensor) -> Entropies:
    """The same (N,) for Dirichlet distributions (N, C): Malinin & Gales 2018, arXiv:1802.10501."""
    log_p, alpha = log_alpha.double().log_softmax(1), log_alpha.double().exp()
    total = entropy(log_p)
    data = -(log_p.exp() * ((alpha + 1).digamma() - (alpha.sum(1, keepdim=True) + 1).digamma())).sum(1)
    return {"total": total, "data": data, "knowledge": total - data}


def entropy(log_p: Tensor) -> Tensor:
    """-Σ p log p over the last axis, in nats."""
    return -(log_p.exp() * log_p).sum(-1)


def taught(teacher: Teacher, loss: Any, view: Any) -> Objective:
    """A teacher's logits alone."""
    term = Term("distillation", target=output_of("teacher"), loss=loss, view=view)
    return Objective("taught", [term], criterion=Term("criterion", weight=0.0), teachers={"teacher": teacher})


def digits(arrays: Arrays, seed: int) -> tuple[Arrays, dict[str, Tensor]]:
    """Training images of the known digits, shifted; and the three sets that networks are asked about."""
    some, test = arrays.limited(PER_DIGIT, seed), arrays.prepare(arrays.x_test)
    kept, known = some.y_train < KNOWN, arrays.y_test < KNOWN
    own, labels = test[known], arrays.y_test[known]
    partner = torch.randperm(len(own), generator=torch.Generator().manual_seed(seed))
    differ = labels != labels[partner]
    sets = {"test": own, "blends": (own[differ] + own[partner][differ]) / 2, "unseen": test[~known]}
    train_set = {"x_train": some.x_train[kept], "y_train": some.y_train[kept], "augment": (RandomCrop(2),)}
    return replace(some, **train_set, x_test=arrays.x_test[known], y_test=labels), sets


def summary(found: dict[str, Entropies], logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Means by set, how well each part tells the others from test digits, and what is measured on those."""
    row = measures(logits, labels)
    for part in PARTS:
        values = {name: parts[part] for name, parts in found.items()}
        row.update({f"{name} {part}": value.mean().item() for name, value in values.items()})
        for name in ("blends", "unseen"):
            both = torch.cat([values["test"], values[name]])
            row[f"{name} by {part}"] = 100 * roc_auc_score(torch.arange(len(both)) >= len(values["test"]), both)
    return row


def networks(arrays: Arrays, objective: Any, seed: int, n: int, epochs: int) -> Iterator[nn.Module]:
    """So many networks, each with its own initial weights and order, all of one data set."""
    kind, batch = ("tiny-resnet", 32) if arrays.input_shape[0] == 3 else ("mlp", 64)
    for i in range(n):
        torch.manual_seed(1000 * (seed + 1) + i)
        student = network(kind, arrays.input_shape, arrays.n_classes)
        run = {"epochs": epochs, "seed": 1000 * (seed + 1) + i, "batch": batch}
        yield train(student, objective(), augmented(arrays), arrays.y_train, **run)
        print(f"  {kind} {i + 1} of {n}", flush=True)


def run_digits(results: Results, whole: Arrays, seed: int) -> None:
    """The ensemble and its students."""
    arrays, sets = digits(whole, seed)
    members = functools.cache(lambda: list(networks(arrays, recipes.naive, seed, MEMBERS, DIGIT_EPOCHS)))
    students = functools.partial(networks, arrays, seed=seed + STUDENTS, n=MEMBERS, epochs=DIGIT_EPOCHS)

    def several(found: Sequence[nn.Module]) -> dict[str, float]:
        said = {name: torch.stack([predict(one, x).log_softmax(1) for one in found]) for name, x in sets.items()}
        parts = {name: of_members(log_p) for name, log_p in said.items()}
        return summary(parts, predict(Mean(found), sets["test"]), arrays.y_test)

    def student(kind: str, how: str) -> dict[str, float]:
        loss = functools.partial(kd, temperature=1.0)
        if kind == "mean":
            return several(list(students(lambda: taught(Ensemble(list(map(Fixed, members()))), loss, TRANSFER[how]))))
        one = next(students(lambda: taught(Fixed(Dirichlet(members())), mean_and_precision, TRANSFER[how])))
        said = {name: predict(one, x) for name, x in sets.items()}
        return summary({name: of_dirichlet(z) for name, z in said.items()}, said["test"], arrays.y_test)

    for method in METHODS:
        key = {"data": "digits", "method": method, "seed": seed}
        ask = (lambda: several(members())) if method == "ensemble" else functools.partial(student, *method.split(", "))
        results.run(key, ask)


def run_cifar(results: Results, arrays: Arrays, epochs: int, seed: int) -> None:
    """Five networks, each of them, and one that they teach."""
    members = functools.cache(lambda: list(networks(arrays, recipes.naive, seed, MEMBERS, epochs)))
    test = arrays.prepare(arrays.x_test)

    def single() -> dict[str, float]:
        each = [measures(predict(one, test), arrays.y_test) for one in members()]
        return {name: sum(row[name] for row in each) / len(each) for name in each[0]}

    def distilled() -> dict[str, float]:
        def objective() -> Objective:
            teacher = Ensemble(list(map(Fixed, members())), temperature=TEMPERATURE)
            return recipes.kd(teacher, temperature=TEMPERATURE)

        one = next(networks(arrays, objective, seed + STUDENTS, 1, epochs))
        models = {"ensemble": Mean(members()), "one": one}
        sizes = {f"bytes of {name}": cost(model, test[:1], repeats=1).nbytes for name, model in models.items()}
        times = {f"ms of {name}": ms for name, ms in latencies(models, test[:1], batch_size=64).items()}
        return {**measures(predict(one, test), arrays.y_test), **sizes, **times}

    for method, ask in {
        "one alone": single,
        "ensemble": lambda: measures(predict(Mean(members()), test), arrays.y_test),
        "distilled": distilled,
    }.items():
        results.run({"data": "CIFAR-10", "epochs": epochs, "method": method, "seed": seed}, ask)


def tables(results: Results, epochs: int, data: Sequence[str]) -> Iterator[str]:
    """What was measured, on CIFAR-10 in runs of so many epochs."""
    rows = [row for row in results.rows if row.get("epochs", epochs) == epochs]

    def lines(columns: dict[str, int], methods: Sequence[str], data: str) -> list[list[str]]:
        return [
            [m, *(told(of(rows, c, data=data, method=m), digits) for c, digits in columns.items())] for m in methods
        ]

    for name in ("test", "blends", "unseen") if "digits" in data else ():
        columns = {f"{name} {part}": 3 for part in PARTS}
        more = {"accuracy": 2} if name == "test" else {f"{name} by {part}": 1 for part in PARTS}
        yield markdown([f"digits, {name}", *columns, *more], lines({**columns, **more}, METHODS, "digits"))
    if "CIFAR-10" not in data:
        return
    columns = {"accuracy": 2, "calibration error": 2, "NLL": 3, "Brier": 3}
    yield markdown(["CIFAR-10", *columns], lines(columns, ("one alone", "ensemble", "distilled"), "CIFAR-10"))
    columns = {
        f"{what} of {who}": digits for who in ("ensemble", "one") for what, digits in {"bytes": 0, "ms": 2}.items()
    }
    yield markdown(["batch of 64", *columns], lines(columns, ["distilled"], "CIFAR-10"))


if __name__ == "__main__":
    chosen = options(__doc__, only={**WHICH, "choices": DATA, "default": DATA}, cifar_epochs=CIFAR_EPOCHS)
    results = Results(chosen.out / "uncertainty.json")
    for seed in range(chosen.seeds):
        if "digits" in chosen.only:
            run_digits(results, mnist(chosen.data_root), seed)
    for seed in range(chosen.seeds):
        if "CIFAR-10" in chosen.only:
            run_cifar(results, cifar10(chosen.data_root).limited(PER_CLASS, seed), chosen.cifar_epochs, seed)
    print(*tables(results, chosen.cifar_epochs, chosen.only), sep="\n\n")
