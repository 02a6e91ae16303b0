"""Whether our recipes hold on streams, rates and optimisers that nobody tuned them on, in many short runs.

    python benchmarks/unseen_streams.py --data-root D --out runs/unseen.jsonl             # half an hour
    python benchmarks/unseen_streams.py --data-root D --out runs/unseen.jsonl --part 0/2  # half of them, beside 1/2
    python benchmarks/unseen_streams.py --data-root D --out runs/unseen-split.jsonl --classes-come   # half an hour

MNIST as it is, standardised and inverted, grey CIFAR-10 cut to 28 x 28, and digits; 10,000 images (digits: all 1,400),
one pass, an MLP 100-100; eight optimisers and rates and three memory sizes. First where classes stay: three
experiences, permuted or rotated (MNIST alone), batch 128 (digits: 16); tether beside der++ and tether without its step
limit. With --classes-come: five experiences of two classes in random order, batch 16; ballast and the default beside
der++, er and ballast without its step limit. All else is as the recipes have it. Each line is one run; runs that are in
the file already are left out.
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
STAY = ("rotated mnist", *(f"permuted {kind}" for kind in KINDS))
COME = tuple(f"split {kind}" for kind in KINDS)
OPTIMISERS = (
    *(("sgd", lr) for lr in (0.05, 0.1, 0.2, 0.4)),
    *(("sgd, momentum 0.9", lr) for lr in (0.01, 0.08)),
    *(("adam", lr) for lr in (0.001, 0.008)),
)
WHERE_THEY_STAY: dict[str, tuple[str, dict[str, float]]] = {
    "tether": ("tether", {}),
    "der++": ("der++", {}),
    "tether without the limit": ("tether", {"limit_factor": 0.0}),
}
WHERE_THEY_COME: dict[str, tuple[str, dict[str, float]]] = {
    **{name: (name, {}) for name in ("ballast", "self-distillation", "der++", "er")},
    "ballast without the limit": ("ballast", {"limit_factor": 0.0}),
}
RECIPES = WHERE_THEY_STAY | WHERE_THEY_COME
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


def experiences(kind: str, data: Data, seed: int) -> Iterator[Data]:
    """Two classes each, or everything with the pixels permuted, or with the images rotated by up to 180 degrees."""
    generator = torch.Generator().manual_seed(1000 + seed)
    x, y, test, test_y = data
    if kind == "split":
        for pair in torch.randperm(10, generator=generator).split(2):
            mine, theirs = torch.isin(y, pair), torch.isin(test_y, pair)
            yield x[mine], y[mine], test[theirs], test_y[theirs]
        return
    pixels = x.shape[1]
    side = math.isqrt(pixels)
    for _ in range(3):
        order, angle = torch.randperm(pixels, generator=generator), 180 * torch.rand((), generator=generator).item()
        if kind == "permuted":
            yield x[:, order], y, test[:, order], test_y
        else:
            turned, turned_test = (rotate(one.view(-1, 1, side, side), angle).flatten(1) for one in (x, test))
            yield turned, y, turned_test, test_y


def run(stream: str, optimiser: str, lr: float, memory_size: int, seed: int, recipe: str, root: str) -> dict[str, Any]:
    """Average accuracy over the experiences at the end, percent; None where the loss was no number."""
    kind, name = stream.split()
    data = images(name, root)
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(data[0].shape[1], 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10)
    )
    optimizer: torch.optim.Optimizer = (
        torch.optim.Adam(model.parameters(), lr=lr)
        if optimiser == "adam"
        else torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9 if "momentum" in optimiser else 0.0)
    )
    built, changed = RECIPES[recipe]
    engine, tests = Engine(recipes.get(built).build(memory_size=memory_size, **changed)), []
    try:
        for inputs, labels, *test in experiences(kind, data, seed):
            tests.append(test)
            engine.begin(labels.unique().tolist())
            for batch in torch.randperm(len(labels)).split(16 if name == "digits" or kind == "split" else 128):
                optimizer.zero_grad()
                engine.loss(model, inputs[batch], labels[batch]).backward()
                optimizer.step()
                engine.after_update(optimizer)
            engine.end((inputs, labels))
    except NonFiniteLossError as error:
        return {"accuracy": None, "error": str(error)}
    network = engine.evaluation_model(model).eval()
    with torch.no_grad():
        right = [(network(x).argmax(1) == y).float().mean().item() for x, y in tests]
    return {"accuracy": round(100 * sum(right) / len(right), 2)}


def main() -> None:
    """Run what is not in the file yet, a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", metavar="D", default=str(Path.home() / ".cache" / "ckd"))
    parser.add_argument("--out", required=True, metavar="FILE", help="where the lines go")
    parser.add_argument("--part", default="0/1", metavar="I/N", help="every N-th setting from I on (default: all)")
    parser.add_argument("--classes-come", action="store_true", help="new classes in every experience")
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
        for (size, seed), stream, (optimiser, lr) in product(
            MEMORIES, COME if chosen.classes_come else STAY, OPTIMISERS
        )
    ]
    for setting, recipe in product(settings[first::step], WHERE_THEY_COME if chosen.classes_come else WHERE_THEY_STAY):
        one: dict[str, Any] = {**setting, "recipe": recipe}
        if one not in done:
            line = json.dumps({**one, **run(**one, root=chosen.data_root)})
            with file.open("a") as out:
                out.write(f"{line}\n")
            print(line, flush=True)


if __name__ == "__main__":
    main()
