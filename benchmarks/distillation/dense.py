"""Dense heads too: which digit each pixel of a canvas is of.

    python benchmarks/distillation/dense.py --data-root D --seeds 3 --out runs/distillation

A canvas of 24 x 24 pixels has two MNIST digits of 14 x 14, the second over the first; a pixel brighter than 100 of 255
is of its digit's class, the others are background. 2,000 canvases to train on, 2,000 to test, of MNIST's training and
test images. Student and teacher are small networks with skip connections, of 6 and 16 channels. Students of a seed see
the same canvases in the same order, with labels: alone, with KD at each pixel (T 1, a weight of 1), and with the
cosines between all pairs of places too (a weight of 0.5): Liu et al. 2019, arXiv:1903.04197, section 3. One teacher,
which is trained for longer, kept, and asked once.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from image_runs import markdown, of, options, predict, told, train
from text_runs import Results
from torch import Tensor, nn
from torch.nn import functional as F

from ckd import Fixed, Objective, Term, recipes, tap
from ckd.data.sources.mnist import mnist
from ckd.deploy import cost, load_network, save_network
from ckd.losses import kd
from ckd.objective import teacher as output_of
from ckd.outputs import logits
from ckd.teachers import input_keys

CANVAS, DIGITS, BRIGHT, CLASSES = 24, 2, 100, 11
TRAINED_ON, TESTED_ON, BATCH, RATE = 2000, 2000, 10, 0.2
STUDENT, TEACHER, EPOCHS, TEACHER_EPOCHS = 6, 16, 12, 15
PLACES = tap("coarse")
PIXEL_WEIGHT, PAIR_WEIGHT = 1.0, 0.5
LOSS = functools.partial(kd, temperature=1.0)
METHODS = ("alone", "pixels", "pixels and pairs")


class Segmenter(nn.Module):
    """Three scales down, two up: logits (B, 11, H, W) of images (B, 1, H, W)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fine = _convolution(1, width, 1)
        self.middle = _convolution(width, 2 * width, 2)
        self.coarse = nn.Sequential(_convolution(2 * width, 4 * width, 2), _convolution(4 * width, 4 * width, 1))
        self.up_middle = _convolution(6 * width, 2 * width, 1)
        self.up_fine = _convolution(3 * width, 2 * width, 1)
        self.head = nn.Conv2d(2 * width, CLASSES, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits at every pixel."""
        fine = self.fine(images)
        middle = self.middle(fine)
        up = self.up_middle(torch.cat([F.interpolate(self.coarse(middle), scale_factor=2), middle], 1))
        found: Tensor = self.head(self.up_fine(torch.cat([F.interpolate(up, scale_factor=2), fine], 1)))
        return found


def _convolution(channels: int, width: int, stride: int) -> nn.Module:
    convolution = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())


def canvases(images: Tensor, labels: Tensor, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Canvases (n, 1, H, W) from 0 to 1 and the class of each pixel (n, H, W), 0 for the background.

    Args:
        images: digits (N, 1, 28, 28), uint8.
        labels: (N,).
        n: how many.
        seed: of which digits, and where.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(images), (n, DIGITS), generator=generator)
    small = F.avg_pool2d(images[chosen.flatten()].float(), 2)[:, 0].unflatten(0, chosen.shape)  # (n, DIGITS, 14, 14)
    side = small.shape[-1]
    corners = torch.randint(CANVAS - side + 1, (n, DIGITS, 2), generator=generator)
    shown, classes = torch.zeros(n, CANVAS, CANVAS), torch.zeros(n, CANVAS, CANVAS, dtype=torch.int64)
    for i in range(n):
        for k, (y, x) in enumerate(corners[i].tolist()):
            place = i, slice(y, y + side), slice(x, x + side)
            bright = small[i, k] > BRIGHT
            shown[place] = torch.where(bright, small[i, k], torch.maximum(shown[place], small[i, k]))
            classes[place] = torch.where(bright, labels[chosen[i, k]] + 1, classes[place])
    return shown[:, None] / 255, classes


def pairwise(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean over pairs of places of (a_ij(student) - a_ij(teacher))², a the cosine of the features at i and j.

    Source: Liu et al. 2019, arXiv:1903.04197, eq. 2.

    Args:
        student: feature maps (B, C, H, W).
        teacher: feature maps (B, C', H, W).

    Returns:
        (B,), from 0 to 4.
    """
    return (_cosines(student) - _cosines(teacher)).square().mean((1, 2))


def _cosines(maps: Tensor) -> Tensor:
    x = F.normalize(maps.flatten(2), dim=1)  # (B, C, P)
    return x.transpose(1, 2) @ x


class Kept(Fixed):
    """A network that was asked for its logits and coarse features of these inputs; it knows no others."""

    def __init__(self, network: nn.Module, inputs: Tensor) -> None:
        super().__init__(network)
        self._rows = {key: row for row, key in enumerate(input_keys(inputs).tolist())}
        each = [super(Kept, self).outputs(some, None, (logits, PLACES)) for some in inputs.split(100)]
        self._said = {output: torch.cat([said[output] for said in each]) for output in (logits, PLACES)}

    def outputs(self, inputs: Tensor, tasks: Tensor | None = None, wanted: Any = (logits,)) -> dict[Any, Any]:  # noqa: ARG002
        """As `Fixed`."""
        rows = [self._rows[key] for key in input_keys(inputs).tolist()]
        return {output: self._said[output][rows] for output in wanted}


def objective(method: str, teacher: Fixed) -> Objective:
    """What the student minimises."""
    if method == "alone":
        return recipes.naive()
    pixels = recipes.distilled(teacher, loss=LOSS, weight=PIXEL_WEIGHT, label_weight=1.0)
    there = output_of("teacher", output=PLACES)
    pairs = Term("pairs", output=PLACES, target=there, loss=pairwise, weight=PAIR_WEIGHT)
    return pixels + pairs if method == "pixels and pairs" else pixels


def ious(predicted: Tensor, classes: Tensor) -> Tensor:
    """Intersection over union of each class, over all pixels (11,)."""
    both = torch.bincount((classes * CLASSES + predicted).flatten(), minlength=CLASSES**2).view(CLASSES, CLASSES)
    same = both.diag()
    return same / (both.sum(0) + both.sum(1) - same)


def segmenter(width: int, wanted: Objective, shown: Tensor, classes: Tensor, *, epochs: int, seed: int) -> nn.Module:
    """A trained network."""
    torch.manual_seed(seed)
    return train(
        Segmenter(width).to(memory_format=torch.channels_last),
        wanted,
        lambda _, rows, __: shown[rows],
        classes,
        epochs=epochs,
        seed=seed,
        batch=BATCH,
        lr=RATE,
    )


def trained_teacher(file: Path, shown: Tensor, classes: Tensor) -> nn.Module:
    """The teacher in `file`; trained first unless it is there."""
    if file.exists():
        found = Segmenter(TEACHER).to(memory_format=torch.channels_last)
        load_network(file, into=found)
        return found
    found = segmenter(TEACHER, recipes.naive(), shown, classes, epochs=TEACHER_EPOCHS, seed=1000)
    save_network(file, found, width=TEACHER)
    return found


def run(results: Results, trained: tuple[Tensor, Tensor], tested: tuple[Tensor, Tensor], seeds: int) -> None:
    """The teacher, and its students by seed."""
    teacher = functools.cache(lambda: trained_teacher(results.file.with_name("dense_teacher.safetensors"), *trained))
    kept = functools.cache(lambda: Kept(teacher(), trained[0]))

    def measured(method: str, seed: int) -> dict[str, Any]:
        run = {"epochs": EPOCHS, "seed": seed}
        found = teacher() if method == "teacher" else segmenter(STUDENT, objective(method, kept()), *trained, **run)
        iou, price = ious(predict(found, tested[0]).argmax(1), tested[1]), cost(found, tested[0][:1], repeats=1)
        sizes = {"parameters": price.parameters, "multiply-adds": price.multiply_adds}
        return {"mean IoU": 100 * iou.mean().item(), "of digits": 100 * iou[1:].mean().item(), **sizes}

    results.run({"method": "teacher", "seed": 0}, lambda: measured("teacher", 0))
    for seed in range(seeds):
        for method in METHODS:
            results.run({"method": method, "seed": seed}, functools.partial(measured, method, seed))


def table(results: Results) -> str:
    """What was measured."""
    columns = {"mean IoU": 2, "of digits": 2, "parameters": 0, "multiply-adds": 0}
    lines = []
    for method in ("teacher", *METHODS):
        found = {what: of(results.rows, what, method=method) for what in columns}
        lines.append([method, *(told(found[w][: 1 if not d else None], d) for w, d in columns.items())])
    return markdown(["method", *columns], lines)


if __name__ == "__main__":
    chosen = options(__doc__)
    results, data = Results(chosen.out / "dense.json"), mnist(chosen.data_root)
    trained = canvases(data.x_train, data.y_train, TRAINED_ON, 0)
    tested = canvases(data.x_test, data.y_test, TESTED_ON, 1)
    run(results, trained, tested, chosen.seeds)
    print(table(results))
