"""What checkpoints cost: runs with and without them in turn, in seconds of the processor and of the clock.

    python benchmarks/checkpoint_cost.py --benchmark split-mnist --recipe der++ [--every N] [--data-root D]

The processor's seconds leave out what other programs do meanwhile; the clock's hold the waiting for the disk too.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from ckd.bench import RunSpec, plan, run
from ckd.bench.saving import Saving


def seconds(spec: RunSpec, data_root: str | None, saving: Saving | None) -> tuple[float, float]:
    """Of the processor and of the clock, for one run."""
    begun = time.process_time(), time.perf_counter()
    run(spec, data_root=data_root, saving=saving)
    return time.process_time() - begun[0], time.perf_counter() - begun[1]


def main() -> None:
    """Measure, and print a line for each recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmark", default="split-mnist", metavar="NAME", help="(default: %(default)s)")
    parser.add_argument("--recipe", action="append", metavar="R", help="(default: naive and der++)")
    parser.add_argument("--every", type=int, default=0, metavar="N", help="steps from one to the next (default: none)")
    parser.add_argument("--rounds", type=int, default=3, metavar="K", help="(default: %(default)s)")
    parser.add_argument("--samples-per-class", type=int, metavar="N", help="of the training data (default: the usual)")
    parser.add_argument("--data-root", metavar="D", help="where data sets are kept")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for recipe in chosen.recipe or ("naive", "der++"):
        spec = plan(chosen.benchmark, recipe, seed=0, samples_per_class=chosen.samples_per_class)
        found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        for i in range(2 * chosen.rounds):
            saved = i % 4 in (1, 2)  # without, with, with, without: neither is always the first
            with tempfile.TemporaryDirectory() as folder:
                saving = Saving(Path(folder), chosen.every) if saved else None
                found[saved].append(seconds(spec, chosen.data_root, saving))
        for k, clock in enumerate(("processor", "clock")):
            plain, kept = (statistics.median(one[k] for one in found[saved]) for saved in (False, True))
            share = f"{100 * (kept / plain - 1):+.1f} %"
            print(f"{recipe:20} {clock:9} {plain:7.2f} s without, {kept:7.2f} s with, {share}", flush=True)


if __name__ == "__main__":
    main()
