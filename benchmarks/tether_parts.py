"""What each part of tether is worth: permuted MNIST at memory 200 with parts left out, and with parts alone.

    python benchmarks/tether_parts.py --seeds 3 --jobs 2 --out runs/tether-parts

All at tether's learning rate, which not every part bears alone: what diverged is said and left out.
"""

from pathlib import Path
from statistics import mean, stdev

from options import options
from rich.console import Console

from ckd.bench import load, plan, run_suite
from ckd.bench.result import FILE
from ckd.errors import NonFiniteLossError

LABELS, LOGITS, COLLAGES = "rehearsal_weight", "logit_weight", "distill_weight"
ANCHOR, AVERAGE, LIMIT = "anchor_weight", "decay", "limit_factor"
PARTS = {
    "tether": {},
    "without the anchor": {ANCHOR: 0.0},
    "without collages": {COLLAGES: 0.0},
    "without rehearsal of labels": {LABELS: 0.0},
    "without stored logits": {LOGITS: 0.0},
    "without the average": {AVERAGE: 0.0},
    "without the step limit": {LIMIT: 0.0},
    "samples as they are in place of collages": {"collage_of": 1},
    "anchor of rank 50": {"anchor_rank": 50},
    "anchor and average": {LABELS: 0.0, LOGITS: 0.0, COLLAGES: 0.0},
    "average and rehearsal": {ANCHOR: 0.0, COLLAGES: 0.0},
    "anchor alone": {LABELS: 0.0, LOGITS: 0.0, COLLAGES: 0.0, AVERAGE: 0.0},
    "collages alone": {ANCHOR: 0.0, LABELS: 0.0, LOGITS: 0.0, AVERAGE: 0.0},
    "rehearsal alone": {ANCHOR: 0.0, COLLAGES: 0.0, AVERAGE: 0.0},
}

if __name__ == "__main__":
    chosen = options(__doc__, choices=False)
    specs = {
        part: [plan("permuted-mnist", "tether", seed=seed, settings=settings) for seed in range(chosen.seeds)]
        for part, settings in PARTS.items()
    }
    every = [spec for group in specs.values() for spec in group]
    try:
        run_suite(every, chosen.out, data_root=chosen.data_root, jobs=chosen.jobs, console=Console(quiet=True))
    except NonFiniteLossError as error:  # a part alone may not bear the learning rate of the whole
        print(error)
    for part, group in specs.items():
        files = [file for spec in group if (file := Path(chosen.out) / spec.folder / FILE).exists()]
        runs = [load(file) for file in files]
        accuracy = [100 * run.matrix.average_accuracy() for run in runs] or [float("nan")]
        spread = f" ± {stdev(accuracy):.2f}" if len(accuracy) > 1 else ""
        print(f"{part:42} {mean(accuracy):.2f}{spread}  {len(runs)} of {len(group)} seeds")
