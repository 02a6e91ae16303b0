"""What learnt a stream teaches a smaller network at its end, on nothing but its memory.

    python benchmarks/distillation/compressed_learner.py --seeds 3 --data-root D --out runs/compressed.jsonl

Split MNIST, an epoch an experience, batches of 10, ballast with a memory of 200. The learner has two hidden layers of
100 units, the student one of 16. Then, for 6,000 steps with batches of 50 of the memory alone, the student learns its
labels; or the learner's soft targets; or these on mixed samples of the memory too. Beside them the student that learnt
the stream itself, with the same recipe. Accuracy among all classes, in percent, and bytes of what must be kept.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import torch

from ckd import Engine, recipes
from ckd.data import tensor_stream
from ckd.losses import kd
from ckd.networks import network
from ckd.objective import Objective, Term, teacher
from ckd.seeds import parse_seeds
from ckd.teachers import Fixed
from ckd.views import Collage, Mixup, anyone, rectangle

STEPS, BATCH, MEMORY, RATE, TEMPERATURE = 6000, 50, 200, 0.05, 4.0
VIEWS = {"mixup": Mixup(partners=anyone), "cutmix": Collage(mask=rectangle, partners=anyone)}


def learn(model, data, seed):
    """The network after the stream as it predicts, and the memory."""
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
    return engine.evaluation_model(model), engine.objective.memory.rows


def compress(learner, memory, student, views=(), steps=STEPS):
    """The student after learning from the memory: its labels, or the learner's soft targets where there are views."""
    loss = partial(kd, temperature=TEMPERATURE)
    terms = [Term(name, target=teacher("learner"), loss=loss, view=VIEWS.get(name)) for name in views]
    criterion = Term("labels", weight=0.0 if views else 1.0)
    teachers = {"learner": Fixed(learner)} if views else {}
    engine = Engine(Objective("compress", terms, criterion=criterion, teachers=teachers))
    optimizer = torch.optim.SGD(student.parameters(), lr=RATE, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    engine.begin(classes=memory.targets.unique())
    for _ in range(steps):
        batch = torch.randint(len(memory.targets), (BATCH,))
        optimizer.zero_grad()
        engine.loss(student, memory.raw[batch], memory.targets[batch]).backward()
        optimizer.step()
        engine.after_update(optimizer)
        schedule.step()
    return student


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
    learner, memory = learn(network("mlp", data.input_shape, data.n_classes), data, seed)
    torch.manual_seed(seed)
    itself, _ = learn(small(data), data, seed)
    found = {"the learner": learner, "student, stream": itself}
    ways = {"labels": (), "soft targets": ("as it is",), "soft targets, mixed": ("as it is", *VIEWS)}
    for way, views in ways.items():
        torch.manual_seed(seed)
        found[f"student, memory: {way}"] = compress(learner, memory, small(data), views, steps)
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
        print(f"{name:38} {mean(values):.2f}{spread:8} {value['bytes']:>9,} bytes")


if __name__ == "__main__":
    main()
