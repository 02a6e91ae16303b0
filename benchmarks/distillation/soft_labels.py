"""What soft labels on disk save: bytes, and processor seconds of an epoch.

    python benchmarks/distillation/soft_labels.py --data-root D --samples 2000

CIFAR-100 cropped and flipped, batches of 128, on a CPU with one thread. The teacher is a ResNet18 with its initial
weights, as only its time and the size of its outputs matter here; the student a small ResNet.
"""

import argparse
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

from ckd import Engine, recipes
from ckd.data import FixedViews
from ckd.data.sources.cifar import cifar100
from ckd.networks import network
from ckd.recipes import distilled
from ckd.teachers import Fixed, SoftLabels, input_keys, write_soft_labels

CLASSES, SHAPE, BATCH = 100, (3, 32, 32), 128


def seconds(act):
    """Processor seconds of this process that act() takes."""
    start = time.process_time()
    act()
    return time.process_time() - start


def epoch(objective, views, labels):
    """One epoch of a new student."""
    torch.manual_seed(0)
    student, engine = network("small-resnet", SHAPE, CLASSES), Engine(objective)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9)
    engine.begin(range(CLASSES))
    for rows in torch.split(torch.randperm(len(views)), BATCH):
        optimizer.zero_grad()
        engine.loss(student, views.inputs(0, rows), labels[rows]).backward()
        optimizer.step()
        engine.after_update(optimizer)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", metavar="D", help="where data sets are kept (default: ~/.cache/ckd)")
    parser.add_argument("--samples", type=int, default=2000, metavar="N", help="images (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="epochs of each (default: %(default)s)")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    data, teacher = cifar100(chosen.data_root), network("resnet18", SHAPE, CLASSES)
    views = FixedViews(data.x_train[: chosen.samples], data.prepare_train)
    labels = data.y_train[: chosen.samples]
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / name for name in ("float32", "float16", "top 10 of 100")}
        live = Fixed(teacher)

        def write(given, file, **settings):
            return lambda: write_soft_labels(file, given, views.batches(BATCH), **settings)

        whole, half, best = files.values()
        print(f"{'float32 from the teacher':26}{seconds(write(live, whole, dtype='float32')):8.2f} s")
        stored = SoftLabels.read(whole, teacher=teacher)
        print(f"{'float16 from float32':26}{seconds(write(stored, half)):8.2f} s")
        print(f"{'top 10 from float32':26}{seconds(write(stored, best, top_k=10, temperature=4.0)):8.2f} s")
        print(f"{'keys of all inputs':26}{seconds(partial(input_keys, views.inputs(0))):8.3f} s\n")

        contenders = {"no teacher": recipes.naive, "live": partial(distilled, live)}
        for name, file in files.items():
            contenders[name] = partial(distilled, SoftLabels.read(file, teacher=teacher))
        spent = {name: [] for name in contenders}
        for _ in range(chosen.rounds):
            for name, make in contenders.items():
                spent[name].append(seconds(partial(epoch, make(), views, labels)))
        print(f"{'student with':16}{'s an epoch':>12}{'bytes a view':>15}{'on disk':>12}")
        for name, times in spent.items():
            size = files[name].stat().st_size if name in files else 0
            each = f"{size / len(views):.0f}" if size else ""
            print(f"{name:16}{statistics.median(times):12.2f}{each:>15}{f'{size:,}' if size else '':>12}")
        print(f"\none view as uint8 {3 * 32 * 32} bytes; the teacher {live.nbytes()['teachers']:,} bytes")


if __name__ == "__main__":
    main()
