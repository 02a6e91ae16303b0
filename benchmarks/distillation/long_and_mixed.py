"""The same view, long and mixed training: a live teacher beside soft labels that were stored. Beyer et al. 2022.

    python benchmarks/distillation/long_and_mixed.py --data-root D --seeds 3 --out runs/distillation

Students learn without labels (kd alone, T 4) on few images, for some epochs and for four times as many. Their one
teacher had more images, these among them. `live`: the teacher is shown what the student is shown, as soft labels are
that were stored with their view. `fixed`: the teacher's logits for the image as it is are the target of all its views.
`mixed`: live, each view mixed with another (mixup). `alone` has labels. All see the same views before mixing. MNIST:
1,000 images, shifted by up to 2 pixels, two layers of 100 units; the teacher has two layers of 400 units with dropout,
and had 10,000 images.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from calibration import wide
from image_runs import augmented, markdown, measures, of, options, predict, told, train
from text_runs import Results
from torch import Tensor, nn

from ckd import Fixed, Objective, Term, recipes
from ckd.data import Arrays
from ckd.data.preparation import RandomCrop
from ckd.data.sources.mnist import mnist
from ckd.losses import kd
from ckd.networks import network
from ckd.objective import teacher as output_of
from ckd.outputs import logits
from ckd.teachers import Teacher
from ckd.views import Mixup, anyone

PER_CLASS, EPOCHS = 100, (10, 40)
TEACHER_PER_CLASS, TEACHER_EPOCHS = 1000, 10
METHODS = ("alone", "fixed", "live", "mixed")
LOSS = functools.partial(kd, temperature=4.0)


class OfImage(Fixed):
    """A network that was asked about the images as they are, and says that of any view of those in `rows`."""

    def __init__(self, network: nn.Module, images: Tensor) -> None:
        super().__init__(network)
        self.rows, self._said = torch.arange(len(images)), predict(network, images)

    def outputs(self, *_: Any, **__: Any) -> dict[Any, Any]:
        """Logits (B, C)."""
        return {logits: self._said[self.rows]}


def taught(teacher: Teacher, view: Any = None) -> Objective:
    """Its logits alone."""
    term = Term("distillation", target=output_of("teacher"), loss=LOSS, view=view)
    return Objective("taught", [term], criterion=Term("criterion", weight=0.0), teachers={"teacher": teacher})


def student(method: str, arrays: Arrays, teacher: nn.Module, epochs: int, seed: int) -> nn.Module:
    """A trained student."""
    torch.manual_seed(seed)
    own, shown = network("mlp", arrays.input_shape, arrays.n_classes), augmented(arrays)
    learn = functools.partial(train, own, labels=arrays.y_train, epochs=epochs, seed=seed)
    if method == "alone":
        return learn(recipes.naive(), shown)
    if method == "fixed":
        fixed = OfImage(teacher, arrays.prepare(arrays.x_train))

        def noted(epoch: int, rows: Tensor, generator: torch.Generator) -> Tensor:
            fixed.rows = rows
            return shown(epoch, rows, generator)

        return learn(taught(fixed), noted)
    return learn(taught(Fixed(teacher), Mixup(anyone) if method == "mixed" else None), shown)


def run(results: Results, whole: Arrays, seeds: int) -> None:
    """The teacher, and its students by seed."""
    rich = whole.limited(TEACHER_PER_CLASS)
    test = rich.prepare(rich.x_test)

    @functools.cache
    def teacher() -> nn.Module:
        torch.manual_seed(1000)
        run = {"epochs": TEACHER_EPOCHS, "seed": 1000}
        return train(wide(rich.n_classes), recipes.naive(), augmented(rich), rich.y_train, **run)

    def measured(make: Callable[[], nn.Module]) -> dict[str, float]:
        return measures(predict(make(), test), rich.y_test)

    results.run({"method": "teacher", "seed": 0}, lambda: measured(teacher))
    for seed in range(seeds):
        arrays = rich.limited(PER_CLASS, seed)
        for method in METHODS:
            for epochs in EPOCHS:
                make = functools.partial(student, method, arrays, teacher(), epochs, seed)
                results.run({"method": method, "epochs": epochs, "seed": seed}, functools.partial(measured, make))


def table(results: Results) -> str:
    """Test accuracy, and what each has over the live teacher by seed after the longer training."""
    (top,) = of(results.rows, "accuracy", method="teacher")
    live, lines = of(results.rows, "accuracy", method="live", epochs=EPOCHS[-1]), []
    for method in METHODS:
        each = [of(results.rows, "accuracy", method=method, epochs=epochs) for epochs in EPOCHS]
        gaps = ", ".join(f"{a - b:+.2f}" for a, b in zip(each[-1], live, strict=True))
        lines.append([method, *(told(found, 2) for found in each), gaps])
    head = [f"teacher {top:.2f}", *(f"{epochs} epochs" for epochs in EPOCHS), "over live, by seed"]
    return markdown(head, lines)


if __name__ == "__main__":
    chosen = options(__doc__)
    results = Results(chosen.out / "long_and_mixed.json")
    run(results, replace(mnist(chosen.data_root), augment=(RandomCrop(2),)), chosen.seeds)
    print(table(results))
