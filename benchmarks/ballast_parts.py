"""What each part of ballast is worth: split MNIST at memory 200 with parts left out, and with parts alone.

    python benchmarks/ballast_parts.py --seeds 3 --jobs 2 --out runs/ballast-parts
    python benchmarks/ballast_parts.py --cifar --seeds 3 --jobs 2 --out runs/ballast-parts      # split CIFAR-10

Without the average, the snapshot is one of the student.
"""

from options import options
from parts import FLAGS, compare_parts

ADJUSTED, SNAPSHOT, AVERAGE, HERDED, DISCRIMINANT = "strength", "distill_weight", "decay", "herded", "discriminant"
PARTS = {
    "ballast": {},
    "without the discriminant": {DISCRIMINANT: 0},
    "without the limit of steps": {"limit_factor": 0.0},
    "adjusted as the frequencies say": {ADJUSTED: 1.0},
    "without warm-up": {"warm_up": 0.0},
    "frequencies of the batch alone": {"window": 1.0},
    "plain cross entropy": {ADJUSTED: 0.0},
    "without the snapshot": {SNAPSHOT: 0.0},
    "snapshot of the student": {"snapshot_of_average": 0},
    "without the average": {AVERAGE: 0.0},
    "samples as they come, equal shares": {HERDED: 0},
    "the same, stored logits too": {HERDED: 0, "logit_weight": 0.2},
    "average alone": {ADJUSTED: 0.0, SNAPSHOT: 0.0, HERDED: 0, DISCRIMINANT: 0},
    "adjusted alone": {AVERAGE: 0.0, SNAPSHOT: 0.0, HERDED: 0, DISCRIMINANT: 0},
    "snapshot alone": {ADJUSTED: 0.0, AVERAGE: 0.0, HERDED: 0, DISCRIMINANT: 0},
    "average and discriminant": {ADJUSTED: 0.0, SNAPSHOT: 0.0, HERDED: 0},
    "discriminant alone": {ADJUSTED: 0.0, AVERAGE: 0.0, SNAPSHOT: 0.0, HERDED: 0},
}

if __name__ == "__main__":
    chosen = options(__doc__, cifar="split CIFAR-10 in place of split MNIST", **FLAGS)
    compare_parts("split-cifar10" if chosen.cifar else "split-mnist", "ballast", PARTS, chosen)
