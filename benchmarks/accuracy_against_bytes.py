"""Accuracy against bytes of state, from the results that other suites have left: memory, teachers, curvature, all.

    python benchmarks/accuracy_against_bytes.py runs/pmnist --out benchmarks/results/bytes.png

A method with several memory sizes is a curve; what needs no state, or all data, is a level.
"""

import argparse
import sys
from pathlib import Path
from statistics import mean, stdev

from ckd.bench.result import FILE, load
from ckd.bench.suite import by_method
from ckd.evaluation import plot_against_bytes
from ckd.recipes import get

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="DIR", help="output folders of suites of one benchmark")
    parser.add_argument("--out", required=True, type=Path, metavar="PNG", help="the picture")
    chosen = parser.parse_args()
    results = [load(file) for folder in chosen.runs for file in sorted(folder.rglob(FILE))]
    if len({r.spec.benchmark for r in results}) != 1:
        sys.exit("accuracy_against_bytes.py: the folders must hold results, and of one benchmark")
    curves: dict[str, list[tuple[float, float, float]]] = {}
    for label, found in by_method(results).items():
        size = found[0].spec.memory_size
        accuracy = [r.matrix.average_accuracy() for r in found]
        held = get(found[0].spec.recipe).strategy == "Naive"
        state = mean(sum(r.memory_bytes.values()) for r in found) if held else 0.0
        name = label.replace(f", memory {size}", "")
        spread = stdev(accuracy) if len(accuracy) > 1 else 0.0
        curves.setdefault(name, []).append((state, mean(accuracy), spread))
        print(
            f"{label:40} {state / 1000:8.0f} kB  {100 * mean(accuracy):.2f} ± {100 * spread:.2f}  {len(accuracy)} seeds"
        )
    plot_against_bytes(curves, chosen.out, title=f"{results[0].spec.benchmark}: accuracy and what it takes")
