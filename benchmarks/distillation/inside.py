"""What a distilled student shares with its teacher inside: where it looks, and how early it knows the class. On MNIST.

    python benchmarks/distillation/inside.py --data-root D --seeds 3 --out runs/distillation

Teacher and students are those that hinton_mnist.py left in the same folder. Needs captum: `pip install captum`.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch
from captum.attr import IntegratedGradients, Saliency
from hinton_mnist import TEMPERATURES, spread, student_file
from mnist_runs import student, trained_teacher, unshifted
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from text_runs import Results
from torch import Tensor, nn
from torch.nn import functional as F

from ckd.data import Arrays
from ckd.data.sources.mnist import mnist
from ckd.deploy import load_network
from ckd.objective import tap
from ckd.outputs import collect

METHODS = ["alone", *(f"T {t:g}" for t in TEMPERATURES)]
WIDTHS = (300, 30)
LAYERS = {"first": "2", "second": "4"}
"""The hidden layers of a student, by the paths of their ReLUs."""


class Centred(nn.Module):
    """A network's logits minus their mean: soft targets fix no more of them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C)."""
        logits: Tensor = self.network(inputs)
        return logits - logits.mean(1, keepdim=True)


def maps(network: nn.Module, inputs: Tensor, labels: Tensor, steps: int = 32) -> dict[str, Tensor]:
    """Gradient and integrated gradients (from black) of the label's centred logit, (N, pixels) each."""
    model = Centred(network.eval())
    gradient = Saliency(model).attribute(inputs.clone().requires_grad_(), labels, abs=False)
    integrated = IntegratedGradients(model).attribute(inputs, target=labels, n_steps=steps, internal_batch_size=1000)
    return {"gradient": gradient.flatten(1), "integrated": integrated.flatten(1).float()}


def likeness(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, float]:
    """Mean cosine over the images, by kind of map."""
    return {kind: float(F.cosine_similarity(found[kind], wanted[kind]).mean()) for kind in wanted}


@torch.no_grad()
def features(network: nn.Module, inputs: Tensor, layer: str) -> Tensor:
    """What a layer says of inputs: (N, units)."""
    output = tap(layer)
    return collect(network.eval(), inputs, None, [output])[output].flatten(1)


def probe(network: nn.Module, arrays: Arrays, layer: str, n: int = 5000) -> float:
    """Errors in percent of a logistic regression on a layer, fitted to the first `n` training images."""
    x, y = unshifted(arrays.x_train).inputs(0, torch.arange(min(n, len(arrays.x_train)))), arrays.y_train[:n]
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    fitted.fit(features(network, x, layer).numpy(), y.numpy())
    shown = features(network, unshifted(arrays.x_test).inputs(0), layer).numpy()
    return 100 * (1 - float(fitted.score(shown, arrays.y_test.numpy())))


def look(network: nn.Module, wanted: dict[str, Tensor], inputs: Tensor, arrays: Arrays) -> dict[str, Any]:
    """How alike the maps are, and what the probes find."""
    alike = likeness(maps(network, inputs, arrays.y_test[: len(inputs)]), wanted)
    return {**alike, **{name: probe(network, arrays, layer) for name, layer in LAYERS.items()}}


def look_at_all(
    left: Results, results: Results, wanted: dict[str, Tensor], inputs: Tensor, arrays: Arrays, seeds: int
) -> None:
    """Every student that is there."""
    for width in WIDTHS:
        for method in METHODS:
            for seed in range(seeds):
                network, file = student(width), student_file(left, width, method, seed)
                if file.exists():
                    load_network(file, into=network)
                    key = {"width": width, "method": method, "seed": seed}
                    results.run(key, partial(look, network, wanted, inputs, arrays))


def table(results: Results) -> str:
    """Mean ± standard deviation over seeds, as Markdown."""
    columns = {"gradient": 3, "integrated": 3, **dict.fromkeys(LAYERS, 2)}
    lines = [f"| units | method | {' | '.join(columns)} |", f"|{' --- |' * (2 + len(columns))}"]
    for width, method in dict.fromkeys((row["width"], row["method"]) for row in results.rows):
        some = [row for row in results.rows if (row["width"], row["method"]) == (width, method)]
        values = " | ".join(spread([row[name] for row in some], digits) for name, digits in columns.items())
        lines.append(f"| {width} | {method} | {values} |")
    return "\n".join(lines)


def main() -> None:
    """Look into every student that is there, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", metavar="D", help="where data sets are kept (default: ~/.cache/ckd)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="of the students (default: %(default)s)")
    parser.add_argument("--images", type=int, default=1000, metavar="N", help="test images with maps (default: 1000)")
    parser.add_argument("--out", type=Path, default=Path("runs/distillation"), help="default: %(default)s")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    arrays = mnist(chosen.data_root)
    inputs = unshifted(arrays.x_test).inputs(0, torch.arange(chosen.images))
    teacher = trained_teacher(chosen.out / "mnist_teacher.safetensors", arrays)
    wanted = maps(teacher, inputs, arrays.y_test[: chosen.images])
    left, results = Results(chosen.out / "hinton_mnist.json"), Results(chosen.out / "inside.json")
    look_at_all(left, results, wanted, inputs, arrays, chosen.seeds)
    print(table(results))


if __name__ == "__main__":
    main()
