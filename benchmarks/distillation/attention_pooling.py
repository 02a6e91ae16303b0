"""An attentive teacher fits into a fixed context: attention over positions into one fixed pooling, on TREC.

    python benchmarks/distillation/attention_pooling.py --data-root D --seeds 3 --epochs 20 --out runs/distillation

The teacher weights the positions of a convolution over words by attention (`text-attention`); the student takes the
mean of word embeddings (`text-pool`). Each seed has a teacher of its own, begun at random as the students are.
"""

from __future__ import annotations

from typing import Any

import torch
from text_runs import Remembered, Results, accuracy, latency, options, size, split, table, train
from torch import nn

from ckd import Objective, recipes
from ckd.data import Arrays
from ckd.data.sources import trec
from ckd.networks import network

NETWORKS = {"teacher": "text-attention", "student": "text-pool"}
METHODS = ["alone", "kd"]
LR = 3e-3
"""With 20 epochs, and dropout of 0.3 in the teacher, chosen on held-out training data, one seed."""


def made(kind: str, arrays: Arrays) -> nn.Module:
    """Teacher or student."""
    return network(NETWORKS[kind], arrays.input_shape, arrays.n_classes, arrays.vocabulary)


def learn(kind: str, objective: Objective, seed: int, arrays: Arrays, epochs: int) -> tuple[nn.Module, dict[str, Any]]:
    """A network of this kind, trained, and how accurate it is."""
    torch.manual_seed(seed)
    model, (data, test) = made(kind, arrays), split(arrays)
    train(model, objective, data, epochs=epochs, lr=LR, seed=seed)
    return model, {"accuracy": accuracy(model, test), "training accuracy": accuracy(model, data)}


def run_seed(seed: int, arrays: Arrays, epochs: int, results: Results) -> None:
    """Teacher, student alone, student taught."""
    key = {"seed": seed, "epochs": epochs}
    teacher, row = learn("teacher", recipes.naive(), seed, arrays, epochs)
    results.run({"method": "teacher", **key}, lambda: row)
    results.run({"method": "alone", **key}, lambda: learn("student", recipes.naive(), seed, arrays, epochs)[1])
    taught = recipes.distilled(teacher).extend(teachers={"teacher": Remembered(teacher)})
    results.run({"method": "kd", **key}, lambda: learn("student", taught, seed, arrays, epochs)[1])


if __name__ == "__main__":
    chosen = options(__doc__)
    arrays = trec(chosen.data_root)
    results = Results(chosen.out / "attention_pooling.json")
    models = {kind: made(kind, arrays) for kind in NETWORKS}
    costs = results.run(
        {"method": "costs"},
        lambda: {
            "latency": latency(models, arrays.x_test[:, :10]),
            "parameters": {kind: size(model) for kind, model in models.items()},
        },
    )
    for seed in range(chosen.seeds):
        run_seed(seed, arrays, chosen.epochs, results)
    print(table(results, METHODS, costs, chosen.epochs))
