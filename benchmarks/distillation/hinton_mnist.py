"""The experiments on MNIST of Hinton, Vinyals & Dean 2015, arXiv:1503.02531, section 3.

    python benchmarks/distillation/hinton_mnist.py --data-root D --seeds 3 --out runs/distillation

A teacher of 1200 units a layer, trained once and kept; its logits for the training images, stored once; students of
800, 300 and 30 units. A run that was killed goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from mnist_runs import (
    LAST,
    TEACHER,
    Training,
    jittered,
    logits_of,
    stored_labels,
    student,
    train,
    trained_teacher,
    unshifted,
)
from text_runs import Results
from torch import Tensor, nn

from ckd import Objective, recipes
from ckd.data import Arrays, FixedViews
from ckd.data.sources.mnist import mnist
from ckd.deploy import save_network
from ckd.losses import kd
from ckd.teachers import Teacher

HOW = Training(epochs=10, lr=3e-3)
"""Of the students. A rate of 1e-3 was worse on held-out training images, alone and distilled; no other was tried."""

TEMPERATURES = (1.0, 2.5, 4.0, 8.0, 20.0)
LOST = {"without 3": [3], "only 7 and 8": [7, 8]}
"""Transfer sets, and the classes whose bias is corrected."""


def taught(teacher: Teacher, temperature: float, label_weight: float = 0.0) -> Objective:
    """Soft targets with weight 1, and labels."""
    loss = partial(kd, temperature=temperature)
    return recipes.distilled(teacher, loss=loss, weight=1.0, label_weight=label_weight)


def learn(width: int, objective: Objective, views: FixedViews, y: Tensor, how: Training, seed: int) -> nn.Module:
    """A student of so many units a layer, trained."""
    torch.manual_seed(seed)
    return train(student(width), objective, views, y, how, seed)


def wrong(logits: Tensor, labels: Tensor) -> Tensor:
    """Which images are not predicted as labelled: bool (N,)."""
    return logits.argmax(1) != labels


def errors(network: nn.Module, arrays: Arrays) -> dict[str, int]:
    """How many images it gets wrong."""
    return {
        "errors": int(wrong(logits_of(network, arrays.x_test), arrays.y_test).sum()),
        "training errors": int(wrong(logits_of(network, arrays.x_train), arrays.y_train).sum()),
    }


def shifted(logits: Tensor, classes: Sequence[int], bias: float) -> Tensor:
    """Logits (N, C) with `bias` added to those of `classes`."""
    found = logits.clone()
    found[:, classes] += bias
    return found


def matching_bias(logits: Tensor, classes: Sequence[int], share: float) -> float:
    """The bias with which `classes` have this share of the mean probability, by bisection."""
    low, high = -100.0, 100.0
    for _ in range(40):
        middle = (low + high) / 2
        found = float(shifted(logits, classes, middle).softmax(1)[:, classes].sum(1).mean())
        low, high = (middle, high) if found < share else (low, middle)
    return (low + high) / 2


def best_bias(logits: Tensor, labels: Tensor, classes: Sequence[int]) -> float:
    """The bias with the fewest errors, of -20 to 20 in steps of 0.1."""
    return min((n / 10 for n in range(-200, 201)), key=lambda b: int(wrong(shifted(logits, classes, b), labels).sum()))


def corrected(network: nn.Module, arrays: Arrays, classes: Sequence[int]) -> dict[str, Any]:
    """Errors, and how many are on `classes`, as trained and with biases.

    The bias is fitted so that the mean probability of `classes` on all training images is their share of the labels;
    and, as in the paper, so that the errors on the test images are fewest.
    """
    logits, labels = logits_of(network, arrays.x_test), arrays.y_test
    ours = torch.isin(labels, torch.tensor(classes))
    share = float(torch.isin(arrays.y_train, torch.tensor(classes)).float().mean())
    biases = {
        "": 0.0,
        "matched ": matching_bias(logits_of(network, arrays.x_train), classes, share),
        "best ": best_bias(logits, labels, classes),
    }
    found: dict[str, Any] = {}
    for name, bias in biases.items():
        missed = wrong(shifted(logits, classes, bias), labels)
        counts = {"errors": int(missed.sum()), "errors on them": int(missed[ours].sum()), "bias": round(bias, 2)}
        found.update({name + what: value for what, value in counts.items()})
    return found


@dataclass(frozen=True)
class Runs:
    """What all students share.

    Attributes:
        arrays: the images.
        teacher: the trained network.
        out: the folder of the teacher's logits.
        how: the students' training.
        results: rows that are kept.
    """

    arrays: Arrays
    teacher: nn.Module
    out: Path
    how: Training
    results: Results

    def labels(self, views: FixedViews, name: str = "as they are") -> Teacher:
        """The teacher's logits for these views, from the file of this name."""
        return stored_labels(self.out / f"mnist_labels {name}.safetensors", self.teacher, views)

    def key(self, claim: str, width: int, method: str, seed: int) -> dict[str, Any]:
        """What tells a run from the others."""
        how = {"epochs": self.how.epochs, "lr": self.how.lr}
        return {"claim": claim, "width": width, "method": method, "seed": seed, **how}

    def compare(self, claim: str, width: int, ways: Mapping[str, Objective], views: FixedViews, seed: int) -> None:
        """Students of one width, each trained in another way on all classes, and kept."""

        def run(method: str) -> dict[str, int]:
            network = learn(width, ways[method], views, self.arrays.y_train, self.how, seed)
            file = student_file(self.results, width, method, seed)
            file.parent.mkdir(exist_ok=True)
            save_network(file, network, width=width)
            return errors(network, self.arrays)

        for method in ways:
            self.results.run(self.key(claim, width, method, seed), partial(run, method))


def student_file(results: Results, width: int, method: str, seed: int) -> Path:
    """Where a student is kept."""
    return results.file.with_suffix("") / f"{width} {method} {seed}.safetensors"


def claim_1(runs: Runs, seed: int) -> None:
    """800 units: alone, and with soft targets, alone or beside labels."""
    views = unshifted(runs.arrays.x_train)
    teacher = runs.labels(views)
    ways = {
        "alone": recipes.naive(),
        "T 20": taught(teacher, 20.0),
        "T 4": taught(teacher, 4.0),
        "T 20 and labels": taught(teacher, 20.0, label_weight=0.1),
    }
    runs.compare("1", 800, ways, views, seed)


def jitter(runs: Runs, seed: int) -> None:
    """The same with the moved images that the teacher was trained on, a new view in each epoch."""
    views = jittered(runs.arrays.x_train, runs.how.epochs, seed=1)
    ways = {"alone, jitter": recipes.naive(), "T 4, jitter": taught(runs.labels(views, "jittered"), 4.0)}
    runs.compare("jitter", 800, ways, views, seed)


def claim_2(runs: Runs, seed: int) -> None:
    """300 and 30 units: alone, and by soft targets at each temperature."""
    views = unshifted(runs.arrays.x_train)
    teacher = runs.labels(views)
    for width in (300, 30):
        ways = {"alone": recipes.naive(), **{f"T {t:g}": taught(teacher, t) for t in TEMPERATURES}}
        runs.compare("2", width, ways, views, seed)


def claim_3(runs: Runs, seed: int) -> None:
    """800 units, soft targets at T 20 on images of some classes, in as many steps as on all."""
    arrays, teacher = runs.arrays, runs.labels(unshifted(runs.arrays.x_train))

    def run(shown: Tensor, classes: Sequence[int]) -> dict[str, Any]:
        x, y = arrays.x_train[shown], arrays.y_train[shown]
        longer = replace(runs.how, epochs=runs.how.epochs * len(shown) // len(y))
        return corrected(learn(800, taught(teacher, 20.0), unshifted(x), y, longer, seed), arrays, classes)

    for method, classes in LOST.items():
        named = torch.isin(arrays.y_train, torch.tensor(classes))
        shown = ~named if method.startswith("without") else named
        runs.results.run(runs.key("3", 800, method, seed), partial(run, shown, classes))


CLAIMS = {"1": claim_1, "3": claim_3, "2": claim_2, "jitter": jitter}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Mean ± standard deviation over seeds, as Markdown."""
    lines = ["| units | method | errors | other counts |", "| --- | --- | --- | --- |"]
    for width, method in dict.fromkeys((row["width"], row["method"]) for row in rows):
        some = [row for row in rows if (row["width"], row["method"]) == (width, method)]
        counts = [name for name in some[0] if "errors" in name or "bias" in name]
        first, *others = (f"{name} {spread([row[name] for row in some])}" for name in counts)
        lines.append(f"| {width} | {method} | {first.removeprefix('errors ')} | {', '.join(others)} |")
    return "\n".join(lines)


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Mean ± standard deviation."""
    return f"{mean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


def held_out(arrays: Arrays, n: int = 10_000) -> Arrays:
    """The last `n` training images in the place of the test images."""
    x, y = arrays.x_train, arrays.y_train
    return replace(arrays, x_train=x[:-n], y_train=y[:-n], x_test=x[-n:], y_test=y[-n:])


def main() -> None:
    """Train what is not there yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", metavar="D", help="where data sets are kept (default: ~/.cache/ckd)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="of the students (default: %(default)s)")
    parser.add_argument("--claims", nargs="+", choices=CLAIMS, default=list(CLAIMS), help="default: all")
    parser.add_argument("--epochs", type=int, default=HOW.epochs, help="of the students (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=HOW.lr, help="of the students (default: %(default)s)")
    parser.add_argument("--teacher-epochs", type=int, default=TEACHER.epochs, help="default: %(default)s")
    parser.add_argument("--last", action="store_true", help="train the teacher's last 8 epochs without dropout")
    parser.add_argument("--out", type=Path, default=Path("runs/distillation"), help="a folder for each teacher")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    chosen.out.mkdir(parents=True, exist_ok=True)
    arrays = mnist(chosen.data_root)
    file, last = chosen.out / "mnist_teacher.safetensors", LAST if chosen.last else None
    teacher = trained_teacher(file, arrays, replace(TEACHER, epochs=chosen.teacher_epochs), last=last)
    results = Results(chosen.out / "hinton_mnist.json")
    results.run({"claim": "teacher", "width": 1200, "method": "teacher"}, lambda: errors(teacher, arrays))
    runs = Runs(arrays, teacher, chosen.out, replace(HOW, epochs=chosen.epochs, lr=chosen.lr), results)
    for seed in range(chosen.seeds):
        for claim in chosen.claims:
            CLAIMS[claim](runs, seed)
    print(table(results.rows))


if __name__ == "__main__":
    main()
