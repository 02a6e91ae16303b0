"""The plugin as a user switches it on: a network of one's own with dropout, BatchNorm and a growing head, Adam.

    python benchmarks/own_model.py --seeds 3 --out runs/own-model.jsonl

Split digits (5 epochs) and split MNIST (1 epoch), batches of 25, a memory of 200; only the memory size is set. Accuracy
among all classes at the end, by seed.
"""

import json
import time
from pathlib import Path
from statistics import mean, stdev

import torch
from avalanche.models import IncrementalClassifier
from avalanche.training import Naive
from options import options
from torch import Tensor, nn

from ckd import AccuracyRecorder, SelfDistillation, recipes
from ckd.data import benchmark

METHODS = {
    "the default": lambda: SelfDistillation(memory_size=200),
    "ballast": lambda: SelfDistillation(recipes.ballast(memory_size=200)),
    "er": lambda: SelfDistillation(recipes.er(memory_size=200)),
    "der++": lambda: SelfDistillation(recipes.der_plus_plus(memory_size=200)),
}
STREAMS = {"split-digits": (64, 5), "split-mnist": (784, 1)}


class Own(nn.Module):
    """What a user might have written."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Flatten(), nn.Linear(inputs, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 64)
        )
        self.classifier = IncrementalClassifier(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, C)."""
        logits: Tensor = self.classifier(torch.relu(self.features(x)))
        return logits


def accuracy(stream: str, method: str, seed: int, data_root: str | None) -> float:
    """Percent, over all experiences at the end."""
    inputs, epochs = STREAMS[stream]
    torch.manual_seed(seed)
    model, recorder = Own(inputs), AccuracyRecorder()
    strategy = Naive(
        model=model,
        optimizer=torch.optim.Adam(model.parameters(), lr=0.001),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=25,
        train_epochs=epochs,
        eval_mb_size=500,
        plugins=[METHODS[method]()],
        evaluator=recorder,
    )
    data = benchmark(stream, seed=seed, data_root=data_root)
    for experience in data.train_stream:
        strategy.train(experience)
        strategy.eval(data.test_stream)
    return 100 * recorder.matrix().average_accuracy()


if __name__ == "__main__":
    chosen = options(__doc__)
    out = Path(chosen.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    for stream in STREAMS:
        for method in METHODS:
            found = []
            start = time.perf_counter()
            for seed in chosen.seeds:
                found.append(accuracy(stream, method, seed, chosen.data_root))
                with out.open("a") as file:
                    file.write(
                        json.dumps({"stream": stream, "method": method, "seed": seed, "accuracy": found[-1]}) + "\n"
                    )
            spread = f" ± {stdev(found):.2f}" if len(found) > 1 else ""
            seconds = (time.perf_counter() - start) / len(found)
            print(f"{stream:14} {method:12} {mean(found):.2f}{spread}  {seconds:.0f} s", flush=True)
