"""Is it the features or the head that a network loses? Ballast on split CIFAR-10, read out in other ways.

    python benchmarks/read_outs.py --data-root D --out runs/read-outs.json

Held-out training data, memory 200. The average that predicts is kept as it is, and what its head takes in is classified
by its own head, by nearest means and by linear classifiers, fitted on the memory or on all training images.
"""

import json
from pathlib import Path
from typing import Any

import torch
from avalanche.training import Naive
from options import options
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from ckd import SelfDistillation, recipes
from ckd.bench import plan
from ckd.data import as_benchmark, tensor_stream
from ckd.networks import network


@torch.no_grad()
def features(average: nn.Module, inputs: Tensor) -> Tensor:
    """What the head takes in, (N, D)."""
    body = average[:-1]
    return torch.cat([body(x.contiguous(memory_format=torch.channels_last)) for x in inputs.split(100)])


def linear(known: Tensor, labels: Tensor, strength: float) -> Any:
    """A logistic regression on standardised features."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=300)).fit(known, labels)


def nearest_means(known: Tensor, labels: Tensor, tested: Tensor) -> Tensor:
    """The class whose mean is nearest to each of the tested features."""
    means = torch.stack([known[labels == c].mean(0) for c in range(int(labels.max()) + 1)])
    return torch.cdist(tested, means).argmin(1)


if __name__ == "__main__":
    chosen = options(__doc__)
    found: dict[str, list[float]] = {}
    for seed in chosen.seeds:
        spec = plan("split-cifar10", "ballast", seed=seed, memory_size=200, validate=True)
        stream = tensor_stream(
            "split-cifar10",
            seed=seed,
            data_root=chosen.data_root,
            validate=True,
            samples_per_class=spec.samples_per_class,
        )
        torch.manual_seed(seed)
        model = network(spec.network, stream.input_shape, stream.n_classes)
        plugin = SelfDistillation(recipes.ballast(memory_size=200, seed=seed))
        strategy = Naive(
            model=model,
            optimizer=torch.optim.SGD(model.parameters(), lr=spec.lr),
            criterion=nn.CrossEntropyLoss(),
            train_mb_size=spec.batch_size,
            train_epochs=spec.epochs,
            plugins=[plugin],
        )
        for experience in as_benchmark(stream).train_stream:
            strategy.train(experience)
        average = plugin.engine.evaluation_model(model).eval()

        (x, y), (x_test, y_test) = (
            map(torch.cat, zip(*stream.tensors(part), strict=True)) for part in ("train", "test")
        )
        memory = plugin.objective.memory.rows
        everything, tested = features(average, x), features(average, x_test)
        remembered, labels = features(average, plugin.engine.prepare.deterministic(memory.raw)), memory.targets
        with torch.no_grad():
            predictions = {
                "its own head": average[-1](tested).argmax(1),
                "nearest means of the memory": nearest_means(remembered, labels, tested),
                "nearest means of all images": nearest_means(everything, y, tested),
            }
        for strength in (0.001, 0.01, 0.1):
            fitted = linear(remembered, labels, strength)
            predictions[f"linear, of the memory, C {strength}"] = torch.tensor(fitted.predict(tested))
        predictions["linear, of all images"] = torch.tensor(linear(everything, y, 0.1).predict(tested))
        for name, classes in predictions.items():
            found.setdefault(name, []).append(100 * (classes == y_test).float().mean().item())
            print(f"seed {seed}  {name:32} {found[name][-1]:.1f}", flush=True)
    Path(chosen.out).parent.mkdir(parents=True, exist_ok=True)
    Path(chosen.out).write_text(json.dumps(found, indent=1))
