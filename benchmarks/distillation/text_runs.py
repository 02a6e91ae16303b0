"""What the experiments on texts share: options, a loop, accuracy, latency, and results that are kept as they come."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from ckd import Engine, Fixed, Objective
from ckd.data import Arrays
from ckd.outputs import eval_mode

BATCH = 64
Batches = list[tuple[Tensor, Tensor]]


def options(
    doc: str, epochs: int | None = 8, data: str = "the folder that holds text/trec", **more: dict[str, Any]
) -> argparse.Namespace:
    """Of the command line; `--epochs` only where there is a default, and `more` as `add_argument` takes it."""
    parser = argparse.ArgumentParser(description=doc.split("\n")[0])
    parser.add_argument("--data-root", default=None, help=data)
    parser.add_argument("--seeds", type=int, default=3)
    if epochs is not None:
        parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/distillation"))
    for name, how in more.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **how)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    chosen.out.mkdir(parents=True, exist_ok=True)
    return chosen


def batches(x: Tensor, y: Tensor, size: int = BATCH) -> Batches:
    """Texts of like length together, cut behind the longest; the same batches in every epoch, in another order."""
    lengths = (x != 0).sum(1)
    rows = lengths.sort(stable=True).indices.split(size)
    return [(x[some, : int(lengths[some].max())], y[some]) for some in rows]


class Remembered(Fixed):
    """A network as teacher that is asked once for each batch: what it says of equal batches is equal."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self._said: dict[tuple[bytes, Any], Any] = {}

    def outputs(self, inputs: Tensor, tasks: Tensor | None = None, wanted: Any = ()) -> dict[Any, Any]:
        """As `Fixed`."""
        key = inputs.numpy().tobytes()
        new = [output for output in wanted if (key, output) not in self._said]
        if new:
            self._said.update({(key, output): v for output, v in super().outputs(inputs, tasks, new).items()})
        return {output: self._said[key, output] for output in wanted}


def train(student: nn.Module, objective: Objective, data: Batches, *, epochs: int, lr: float, seed: int) -> None:
    """AdamW with a rate that rises over a tenth of the steps and falls to 0."""
    engine, n = Engine(objective), epochs * len(data)
    trained = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=0.01, fused=True)
    schedule = LambdaLR(optimizer, lambda step: min((step + 1) / max(1, n // 10), (n - step) / n))
    generator = torch.Generator().manual_seed(seed)
    engine.begin(range(1 + max(int(y.max()) for _, y in data)))
    student.train()
    for _ in range(epochs):
        for i in torch.randperm(len(data), generator=generator).tolist():
            optimizer.zero_grad()
            engine.loss(student, *data[i]).backward()
            optimizer.step()
            engine.after_update(optimizer)
            schedule.step()
        print(f"  {objective.name}: {told(engine.mean_losses())}", flush=True)


def told(losses: dict[str, float]) -> str:
    """Losses by name, in a line."""
    return ", ".join(f"{name} {value:.3f}" for name, value in losses.items())


@torch.no_grad()
def accuracy(model: nn.Module, data: Batches) -> float:
    """Percent of the test texts."""
    with eval_mode(model):
        right = sum(int((model(x).argmax(1) == y).sum()) for x, y in data)
    return 100 * right / sum(len(y) for _, y in data)


@torch.no_grad()
def latency(models: dict[str, nn.Module], texts: Tensor, rounds: int = 20) -> dict[str, list[float]]:
    """Milliseconds of processor time for one text, and for each of 100 (T alike): medians, the models in turns."""
    found: dict[str, list[float]] = {}
    for n in (1, 100):
        times: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(rounds):
            for name, model in models.items():
                with eval_mode(model):
                    start = time.process_time()
                    model(texts[:n])
                    times[name].append(1000 * (time.process_time() - start) / n)
        for name, some in times.items():
            found.setdefault(name, []).append(median(some))
    return found


def size(model: nn.Module) -> int:
    """Parameters."""
    return sum(p.numel() for p in model.parameters())


class Results:
    """Rows in a JSON file; what is there already is not run again."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []

    def run(self, key: dict[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The row of `key`, made now unless it is there."""
        for row in self.rows:
            if all(row.get(name) == value for name, value in key.items()):
                return row
        start = time.perf_counter()
        row = {**key, **make(), "seconds": round(time.perf_counter() - start, 1)}
        self.rows.append(row)
        self.file.write_text(json.dumps(self.rows, indent=1))
        print(row, flush=True)
        return row

    def of(self, method: str, epochs: int) -> list[float]:
        """The accuracies of a method by seed, of runs of so many epochs."""
        rows = (row for row in self.rows if row.get("epochs", epochs) == epochs)
        return [row["accuracy"] for row in rows if row["method"] == method]


def table(results: Results, methods: Sequence[str], costs: dict[str, Any], epochs: int) -> str:
    """Accuracy, the share of the teacher's that is kept, parameters and latency, as Markdown."""
    top = mean(results.of("teacher", epochs))
    head = ["method", "accuracy", "of the teacher's", "parameters", "ms, a text", "ms, one of 100"]
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join(['---'] * len(head))} |"]
    for method in ("teacher", *methods):
        found = results.of(method, epochs)
        spread = f" ± {stdev(found):.1f}" if len(found) > 1 else ""
        kind = "teacher" if method == "teacher" else "student"
        cost = f"{costs['parameters'][kind] / 1e6:.1f} M | {' | '.join(f'{ms:.3f}' for ms in costs['latency'][kind])}"
        lines.append(f"| {method} | {mean(found):.1f}{spread} | {100 * mean(found) / top:.1f} % | {cost} |")
    return "\n".join(lines)


def split(data: Arrays) -> tuple[Batches, Batches]:
    """Training and test batches."""
    return batches(data.x_train, data.y_train), batches(data.x_test, data.y_test, 250)
