"""What each part of tether is worth: permuted MNIST at memory 200 with parts left out, and with parts alone.

python benchmarks/tether_parts.py --seeds 3 --jobs 2 --out runs/tether-parts
"""

from statistics import mean, stdev

from options import options
from rich.console import Console

from ckd.bench import plan, run_suite

LABELS, COLLAGES, ANCHOR, AVERAGE = "rehearsal_weight", "distill_weight", "anchor_weight", "decay"
PARTS = {
    "tether": {},
    "without the anchor": {ANCHOR: 0.0},
    "without collages": {COLLAGES: 0.0},
    "without rehearsal of labels": {LABELS: 0.0},
    "without the average": {AVERAGE: 0.0},
    "samples as they are in place of collages": {"collage_of": 1},
    "anchor of rank 50": {"anchor_rank": 50},
    "anchor and average": {LABELS: 0.0, COLLAGES: 0.0},
    "average and rehearsal": {ANCHOR: 0.0, COLLAGES: 0.0},
    "anchor alone": {LABELS: 0.0, COLLAGES: 0.0, AVERAGE: 0.0},
    "collages alone": {ANCHOR: 0.0, LABELS: 0.0, AVERAGE: 0.0},
    "rehearsal alone": {ANCHOR: 0.0, COLLAGES: 0.0, AVERAGE: 0.0},
}

if __name__ == "__main__":
    chosen = options(__doc__)
    specs = {
        part: [plan("permuted-mnist", "tether", seed=seed, settings=settings) for seed in range(chosen.seeds)]
        for part, settings in PARTS.items()
    }
    every = [spec for group in specs.values() for spec in group]
    quiet = Console(quiet=True)
    results = run_suite(every, chosen.out, data_root=chosen.data_root, jobs=chosen.jobs, console=quiet)
    found = {result.spec.folder: result for result in results}
    for part, group in specs.items():
        runs = [found[spec.folder] for spec in group]
        accuracy = [100 * r.matrix.average_accuracy() for r in runs]
        spread = f" ± {stdev(accuracy):.2f}" if len(accuracy) > 1 else ""
        state = mean(sum(r.memory_bytes.values()) for r in runs) / 1000
        print(f"{part:42} {mean(accuracy):.2f}{spread}  {state:.0f} kB")
