"""The command line that several scripts share."""

import argparse

import torch

from ckd.bench.allocator import keep_freed_memory
from ckd.seeds import parse_seeds


def options(description: str | None, **flags: str) -> argparse.Namespace:
    """Seeds and folders, and `flags` by name with their help; one thread a run."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, text in flags.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    parser.add_argument("--data-root", metavar="D", help="where data sets are kept (default: ~/.cache/ckd)")
    parser.add_argument("--out", required=True, metavar="DIR", help="where results go")
    parser.add_argument("--seeds", default="3", metavar="S", help="5: 0 to 4; 3-7; or 0,2,5 (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (default: %(default)s)")
    torch.set_num_threads(1)
    keep_freed_memory()
    chosen = parser.parse_args()
    chosen.seeds = parse_seeds(chosen.seeds)
    return chosen
