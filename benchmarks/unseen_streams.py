"""Whether tether holds on streams, rates and optimisers that nobody tuned it on, in many short runs.

    python benchmarks/unseen_streams.py --data-root D --out runs/unseen.jsonl             # 144 settings, half an hour
    python benchmarks/unseen_streams.py --data-root D --out runs/unseen.jsonl --part 0/2  # half of them, beside 1/2

Permuted and rotated MNIST, permuted MNIST standardised and inverted, permuted grey CIFAR-10 cut to 28 x 28, permuted
digits: three experiences, 10,000 images each, one pass, an MLP 100-100, batch 128 (digits: all 1,400, batch 16). Beside
tether are der++ and tether without its step limit, all else as their recipes have it. Each line is one run; runs that
are in the file already are left out.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torchvision.datasets import CIFAR10, MNIST
from torchvision.transforms.functional import rotate

from ckd import Engine, recipes
from ckd.bench.allocator import keep_freed_memory
from ckd.errors import NonFiniteLossError

KINDS = ("mnist", "standardised", "inverted", "cifar", "digits")
STREAMS = ("rotated mnist", *(f"permuted {kind}" for kind in KINDS))
OPTIMISERS = (
    *(("sgd", lr) for lr in (0.05, 0.1, 0.2, 0.4)),
    *(("sgd, momentum 0.9", lr) for lr in (0.01, 0.08)),
    *(("adam", lr) for lr in (0.001, 0.008)),
)
RECIPES: dict[str, tuple[str, dict[str, float]]] = {
    "tether": ("tether", {}),
    "der++": ("der++", {}),
    "tether without the limit": ("tether", {"limit_factor": 0.0}),
}
MEMORIES = ((50, 0), (200, 1), (500, 2))
"""Memory size and seed."""

Data = tuple[Tensor, Tensor, Tensor, Tensor]


def images(name: str, root: str) -> Data:
    """Training images (N, pixels) and labels, test images and labels."""
    if name == "digits":
        found = load_digits()
        order = torch.randperm(len(found.target), generator=torch.Generator().manual_seed(0))
        x, y = torch.tensor(found.images, dtype=torch.float32)[order] / 16, torch.tensor(found.target)[order]
        return x[:1400].flatten(1), y[:1400], x[1400:].flatten(1), y[1400:]
    kind: Any = CIFAR10 if name == "cifar" else MNIST
    whole = [kind(root, train=train, download=True) for train in (True, False)]
    x, test = (torch.as_tensor(one.data[:n]).float() / 255 for one, n in zip(whole, (10_000, 1000), strict=True))
    if name == "cifar":
        x, test = (one.mean(-1)[:, 2:30, 2:30] for one in (x, test))
    change: Callable[[Tensor], Tensor] = {
        "inverted": lambda one: 1 - one,
        "standardised": lambda one: (one - 0.1307) / 0.3081,
    }.get(name, lambda one: one)
    labels = [torch.as_tensor(one.targets)[:n] for one, n in zip(whole, (10_000, 1000), strict=True)]
    return change(x).flatten(1), labels[0], change(test).flatten(1), labels[1]


def changes(kind: str, pixels: int, seed: int) -> Iterator[Callable[[Tensor], Tensor]]:
    """What each experience does to the images: a permutation of the pixels, or a rotation by up to 180 degrees."""
    generator = torch.Generator().manual_seed(1000 + seed)
    side = math.isqrt(pixels)
    while True:
        order, angle = torch.randperm(pixels, generator=generator), 180 * torch.rand((), generator=generator).item()
        if kind == "permuted":
            yield lambda x, order=order: x[:, order]
        else:
            yield lambda x, angle=angle: rotate(x.view(-1, 1, side, side), angle).flatten(1)


def run(stream: str, optimiser: str, lr: float, memory_size: int, seed: int, recipe: str, root: str) -> dict[str, Any]:
    """Average accuracy over three experiences at the end, percent; None where the loss was no number."""
    kind, name = stream.split()
    x, y, test, test_y = images(name, root)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(x.shape[1], 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10))
    optimizer: torch.optim.Optimizer = (
        torch.optim.Adam(model.parameters(), lr=lr)
        if optimiser == "adam"
        else torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9 if "momentum" in optimiser else 0.0)
    )
    built, changed = RECIPES[recipe]
    engine, tests = Engine(recipes.get(built).build(memory_size=memory_size, **changed)), []
    try:
        for _, change in zip(range(3), changes(kind, x.shape[1], seed), strict=False):
            inputs = change(x)
            tests.append(change(test))
            engine.begin(range(10))
            for batch in torch.randperm(len(y)).split(16 if name == "digits" else 128):
                optimizer.zero_grad()
                engine.loss(model, inputs[batch], y[batch]).backward()
                optimizer.step()
                engine.after_update(optimizer)
            engine.end((inputs, y))
    except NonFiniteLossError as error:
        return {"accuracy": None, "error": str(error)}
    network = engine.evaluation_model(model).eval()
    with torch.no_grad():
        right = [(network(one).argmax(1) == test_y).float().mean().item() for one in tests]
    return {"accuracy": round(100 * sum(right) / len(right), 2)}


def main() -> None:
    """Run what is not in the file yet, a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", metavar="D", default=str(Path.home() / ".cache" / "ckd"))
    parser.add_argument("--out", required=True, metavar="FILE", help="where the lines go")
    parser.add_argument("--part", default="0/1", metavar="I/N", help="every N-th setting from I on (default: all)")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    first, step = map(int, chosen.part.split("/"))
    file = Path(chosen.out)
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = map(json.loads, file.read_text().splitlines()) if file.exists() else ()
    done = [{key: line[key] for key in line if key not in ("accuracy", "error")} for line in lines]
    settings = [
        {"stream": stream, "optimiser": optimiser, "lr": lr, "memory_size": size, "seed": seed}
        for (size, seed), stream, (optimiser, lr) in product(MEMORIES, STREAMS, OPTIMISERS)
    ]
    for setting, recipe in product(settings[first::step], RECIPES):
        one: dict[str, Any] = {**setting, "recipe": recipe}
        if one not in done:
            line = json.dumps({**one, **run(**one, root=chosen.data_root)})
            with file.open("a") as out:
                out.write(f"{line}\n")
            print(line, flush=True)


if __name__ == "__main__":
    main()
