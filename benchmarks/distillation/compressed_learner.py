"""What learns a stream teaches a smaller network, from its memory alone at the end, or as the stream goes on.

    python benchmarks/distillation/compressed_learner.py --seeds 3 --data-root D --out runs/compressed.jsonl

Split MNIST, an epoch an experience, batches of 10, ballast with a memory of 200. The learner has two hidden layers of
100 units, the student one of 16. At the end the student learns for 3,000 steps from the memory alone: its labels, as
the samples are or on mixup, or the learner's soft targets, on the samples or on mixtures of them. Or it learns, for
600 steps after each experience, the soft targets for that experience's samples and the memory, half and half, and for
mixtures of them. Beside them the student that learnt the stream itself, by the same recipe. Accuracy among all classes.
Rate and temperature were chosen on held-out training data of seed 1000.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import torch

from ckd import Engine, recipes
from ckd.data import tensor_stream
from ckd.losses import cross_entropy, kd
from ckd.networks import network
from ckd.objective import Objective, Term, teacher
from ckd.seeds import parse_seeds
from ckd.teachers import Fixed
from ckd.views import Collage, Mixup, anyone, rectangle

STEPS, BATCH, MEMORY, RATE, TEMPERATURE = 3000, 50, 200, 0.01, 2.0
MIXTURES = {
    "mixup": Mixup(partners=anyone),
    "cutmix": Collage(mask=rectangle, partners=anyone),
    "pixels": Collage(partners=anyone),
}


def labelled(view=None):
    """The labels, on a view."""
    return Objective("labels", [Term("labels", view=view, loss=cross_entropy)], criterion=Term("none", weight=0.0))


def taught(learner, views):
    """The learner's soft targets, on views by name."""
    loss = partial(kd, temperature=TEMPERATURE)
    terms = [Term(name, target=teacher("learner"), loss=loss, view=view) for name, view in views.items()]
    return Objective("soft", terms, criterion=Term("none", weight=0.0), teachers={"learner": Fixed(learner)})


def train(student, objective, draw, steps):
    """Let the student follow the objective for so many steps on what draw() returns."""
    engine, optimizer = Engine(objective), torch.optim.SGD(student.parameters(), lr=RATE, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    engine.begin(classes=range(10))
    for _ in range(steps):
        optimizer.zero_grad()
        engine.loss(student, *draw()).backward()
        optimizer.step()
        engine.after_update(optimizer)
        schedule.step()


def some(inputs, labels, n=BATCH):
    """n samples, drawn with replacement."""
    rows = torch.randint(len(labels), (n,))
    return inputs[rows], labels[rows]


def learn(model, data, seed, follower=None, steps=STEPS):
    """The network after the stream as it predicts, and the memory; the follower learns after each experience."""
    engine = Engine(recipes.ballast(memory_size=MEMORY, seed=seed))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for inputs, labels in data.tensors("train"):
        engine.begin(classes=labels.unique())
        for batch in torch.randperm(len(labels)).split(10):
            optimizer.zero_grad()
            engine.loss(model, inputs[batch], labels[batch]).backward()
            optimizer.step()
            engine.after_update(optimizer)
        engine.end((inputs, labels))
        memory = engine.objective.memory.rows
        if follower is not None:
            parts = (inputs, labels, BATCH // 2), (memory.raw, memory.targets, BATCH // 2)
            views = {"as they are": None, **MIXTURES}
            train(
                follower,
                taught(engine.evaluation_model(model), views),
                lambda parts=parts: map(torch.cat, zip(*(some(*part) for part in parts), strict=True)),
                steps // 5,
            )
    return engine.evaluation_model(model), memory


@torch.no_grad()
def accuracy(model, data):
    """Percent, the mean over experiences."""
    model.eval()
    return mean(100 * (model(x).argmax(1) == y).float().mean().item() for x, y in data.tensors("test"))


def small(data):
    """The student, untrained."""
    return network("small-mlp", data.input_shape, data.n_classes)


def size(model):
    """Bytes of the weights."""
    return sum(p.numel() * p.element_size() for p in model.parameters())


def run(seed, *, stream="split-mnist", data_root=None, samples_per_class=None, steps=STEPS):
    """Accuracy and bytes of each."""
    data = tensor_stream(stream, seed=seed, data_root=data_root, samples_per_class=samples_per_class)
    torch.manual_seed(seed)
    follower = small(data)
    torch.manual_seed(seed)
    learner, memory = learn(network("mlp", data.input_shape, data.n_classes), data, seed, follower, steps)
    torch.manual_seed(seed)
    itself, _ = learn(small(data), data, seed)
    found = {"the learner": learner, "student, stream": itself, "student, as the stream goes: soft targets": follower}
    for name, objective in {
        "labels": labelled(),
        "labels, mixup": labelled(Mixup(partners=anyone, labels=True)),
        "soft targets": taught(learner, {"as they are": None}),
        "soft targets, mixtures": taught(learner, MIXTURES),
    }.items():
        torch.manual_seed(seed)
        student = found[f"student, memory: {name}"] = small(data)
        train(student, objective, partial(some, memory.raw, memory.targets), steps)
    return {name: {"accuracy": accuracy(model, data), "bytes": size(model)} for name, model in found.items()}


def main():
    """Run, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", metavar="D", help="where data sets are kept (default: ~/.cache/ckd)")
    parser.add_argument("--out", required=True, metavar="FILE", help="JSON lines, one a seed")
    parser.add_argument("--seeds", default="3", metavar="S", help="5: 0 to 4; 3-7; or 0,2,5 (default: %(default)s)")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    out, all_found = Path(chosen.out), []
    out.parent.mkdir(parents=True, exist_ok=True)
    for seed in parse_seeds(chosen.seeds):
        all_found.append(run(seed, data_root=chosen.data_root))
        with out.open("a") as file:
            file.write(json.dumps({"seed": seed, **all_found[-1]}) + "\n")
        print(f"seed {seed}: " + ", ".join(f"{n} {v['accuracy']:.2f}" for n, v in all_found[-1].items()), flush=True)
    for name, value in all_found[0].items():
        values = [found[name]["accuracy"] for found in all_found]
        spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
        print(f"{name:42} {mean(values):.2f}{spread:8} {value['bytes']:>9,} bytes")


if __name__ == "__main__":
    main()
