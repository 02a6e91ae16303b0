"""Milliseconds of a distillation step, in plain torch and with ckd's engine, in turn.

    python benchmarks/distillation/step_cost.py --rounds 21

Both do the same: forward passes of student and teacher, cross entropy and temperature² KL(teacher ‖ student), or the
mean squared difference of a pair of layers through a linear map; backward pass; a step of SGD. Random images of
CIFAR's size, batches of 64, one thread, processor time.
"""

import argparse
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

from ckd import Engine, recipes
from ckd.networks import network

CLASSES, BATCH, LAYER = 100, 64, "6"
PAIRS = {"tiny-resnet from small-resnet": ("tiny-resnet", "small-resnet"), "mlp from convnet": ("mlp", "convnet")}


def plain(student, teacher, optimizer, *, features):
    """A step as one would write it."""
    teacher.eval()
    seen, shown = {}, {}
    if features:
        width = {}
        for model, into in ((student, seen), (teacher, shown)):
            model.get_submodule(LAYER).register_forward_hook(lambda _m, _i, out, into=into: into.update(out=out))
        with torch.no_grad():
            for model, into in ((student, seen), (teacher, shown)):
                model(torch.zeros(2, 3, 32, 32))
                width[model] = into["out"].shape[1]
        adaptor = nn.Conv2d(width[student], width[teacher], 1)
        optimizer.add_param_group({"params": list(adaptor.parameters())})

    def step(x, y):
        optimizer.zero_grad()
        logits = student(x)
        with torch.no_grad():
            target = teacher(x)
        loss = F.cross_entropy(logits, y)
        if features:
            loss = loss + F.mse_loss(adaptor(seen["out"]), shown["out"])
        else:
            ours, theirs = F.log_softmax(logits / 4, dim=1), F.log_softmax(target / 4, dim=1)
            loss = loss + 16 * F.kl_div(ours, theirs, reduction="batchmean", log_target=True)
        loss.backward()
        optimizer.step()

    return step


def with_engine(student, teacher, optimizer, *, features):
    """The same step with ckd."""
    if features:
        objective = recipes.distilled(teacher, weight=0.0, label_weight=1.0, features={LAYER: LAYER})
    else:
        objective = recipes.distilled(teacher, weight=1.0, label_weight=1.0)
    engine = Engine(objective)
    engine.begin(range(CLASSES))

    def step(x, y):
        optimizer.zero_grad()
        engine.loss(student, x, y).backward()
        optimizer.step()
        engine.after_update(optimizer)

    return step


def measure(pair, *, features, rounds, steps):
    """Milliseconds a step of both, a figure a round."""
    contenders = {}
    for name, make in (("plain", plain), ("engine", with_engine)):
        torch.manual_seed(0)
        student, teacher = (network(n, (3, 32, 32), CLASSES) for n in pair)
        optimizer = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9)
        contenders[name] = make(student, teacher, optimizer, features=features)
    x, y = torch.randn(BATCH, 3, 32, 32), torch.randint(CLASSES, (BATCH,))
    found = {name: [] for name in contenders}
    for k in range(rounds + 1):
        for name in sorted(contenders, reverse=bool(k % 2)):
            start = time.process_time()
            for _ in range(steps):
                contenders[name](x, y)
            found[name].append(1000 * (time.process_time() - start) / steps)
    return {name: times[1:] for name, times in found.items()}  # the first round warms up


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21, metavar="N", help="of each contender (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="in a round (default: %(default)s)")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'networks':32}{'what':10}{'plain':>8}{'engine':>8}{'ratio':>8}")
    for name, pair in PAIRS.items():
        for features in (False, True) if "resnet" in name else (False,):
            found = measure(pair, features=features, rounds=chosen.rounds, steps=chosen.steps)
            medians = [statistics.median(found[who]) for who in ("plain", "engine")]
            ratios = [b / a for a, b in zip(found["plain"], found["engine"], strict=True)]
            what = "features" if features else "kd"
            print(f"{name:32}{what:10}{medians[0]:8.2f}{medians[1]:8.2f}{statistics.median(ratios):8.3f}", flush=True)


if __name__ == "__main__":
    main()
