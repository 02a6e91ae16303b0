"""Kill the real command again and again, and compare where it ends with where it ends undisturbed.

    python benchmarks/kills.py --kills 20 --out runs/kills [--recipe R ...]

For each recipe `ckd run` (`ckd distil` for those with a teacher) is called on tiny data with a checkpoint every 3
steps, in a process that gets SIGKILL at a random step; then it is called again, until it ends, and from the start until
there were so many kills. What is compared is all that the last checkpoint holds (parameters, momentum, memory,
teachers, every random generator, the recorded matrix), without the seconds; and the result, also with that of a run
without checkpoints. Unix alone: a process is forked for each call, which saves the seconds of the imports, and none
draws a picture.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import torch

import ckd.bench.suite
from ckd.bench.saving import FOLDER, Saving
from ckd.checkpoint import Checkpoints
from ckd.cli import actions, distil, main
from ckd.plugins import Checkpoint
from ckd.recipes import RECIPES

TINY = ["--epochs", "2", "--batch-size", "10", "--momentum", "0.5", "--lr-end", "0.5"]
STREAM = ["--experiences", "5", "--samples-per-class", "20", "--memory-size", "20", "--evaluate-every", "3"]
NETWORK = {"review": "tiny-resnet", "attention": "tiny-resnet"}  # they match maps


def command_of(recipe: str) -> list[str]:
    """The command, without --out."""
    if not RECIPES[recipe].teacher:
        return ["run", "split-digits", "--recipe", recipe, *STREAM, *TINY]
    network = NETWORK.get(recipe, "mlp")
    few = ["--samples-per-class", "10", "--seeds", "1", "--teacher", network, "--student", network]
    return ["distil", "digits", "--recipe", recipe, *few, *TINY]


def ends(command: list[str], out: Path, *, every: int | None = 3, die_at: int = 0) -> bool:
    """Call the command in a process that gets SIGKILL at its `die_at`th step, if any; whether it came to its end.

    Raises:
        SystemExit: it ended with an error.
    """
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        random.seed(0)  # which Python seeds anew in each process
        Saving.remove = keep_the_last  # type: ignore[method-assign]
        for module, name in ((ckd.bench.suite, "plot_forgetting"), (actions, "check_names"), (distil, "check_names")):
            setattr(module, name, nothing)
        if die_at:
            let_die(die_at)
        if every is None:
            ckd.bench.suite.Saving = nothing  # type: ignore[assignment, misc]
        os._exit(main([*command, "--out", str(out), "--checkpoint-every", str(every or 0)]))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        sys.exit(f"{' '.join(command)} ended with {status}")
    return status == 0


def nothing(*_: Any, **__: Any) -> None:
    """In the place of `Saving`, of pictures and of a look at names that takes as long as a run here."""


def keep_the_last(saving: Saving, spec: Any) -> None:
    """In the place of `Saving.remove`: the last checkpoints of a run are moved aside."""
    folder = saving.out / spec.folder / FOLDER
    if folder.is_dir():
        folder.rename(folder.with_name("last"))


def let_die(at: int) -> None:
    """Send SIGKILL to this process at the end of its `at`th step, before or after a checkpoint is written."""
    hook, left = Checkpoint.after_training_iteration, [at]

    def act(self: Checkpoint, strategy: Any, **given: Any) -> None:
        left[0] -= 1
        if not left[0] and at % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        hook(self, strategy, **given)
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    Checkpoint.after_training_iteration = act  # type: ignore[method-assign]


def states(out: Path) -> dict[str, Any]:
    """What the last checkpoints under a folder hold, by run, without what differs from call to call."""
    found = {}
    for folder in sorted(out.rglob("last")):
        files = Checkpoints(folder)
        state = files.read(files.names()[-1]).state()
        del state["others"]["notes"]["seconds"]
        found[str(folder.relative_to(out))] = state
    return found


def results(out: Path) -> dict[str, Any]:
    """The results under a folder, without seconds and dates."""
    found = {str(file.relative_to(out)): json.loads(file.read_text()) for file in sorted(out.rglob("result.json"))}
    return {name: {k: v for k, v in one.items() if k not in ("seconds", "made")} for name, one in found.items()}


def equal(one: Any, other: Any) -> bool:
    """Whether two states are equal bit for bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, torch.Tensor):
        same = (one.dtype, one.shape, one.stride()) == (other.dtype, other.shape, other.stride())
        return same and torch.equal(*(value.flatten().view(torch.uint8) for value in (one, other)))
    return type(one) is type(other) and (one == other or one != one)


def try_recipe(recipe: str, kills: int, out: Path, draw: random.Random) -> tuple[int, int, int]:
    """Returns the kills, how many runs were ended by force and taken up to their end, and how many of them differ."""
    command, shown = command_of(recipe), out / "undisturbed"
    ends(command, shown)
    ends(command, out / "without", every=None)
    assert results(shown) == results(out / "without")
    wanted, found, runs, differ = states(shown), 0, 0, 0
    while found < kills:
        killed = out / f"killed{runs}"
        while not ends(command, killed, die_at=draw.randint(1, 12) if found < kills else 0):
            found += 1
        runs += 1
        differ += not (equal(states(killed), wanted) and results(killed) == results(shown))
    return found, runs, differ


def report() -> None:
    """Try all, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", action="append", metavar="R", help="(default: all)")
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="for each recipe (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the steps (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder that is emptied")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    gc.freeze()  # else each process looks through all that was imported
    total = [0, 0, 0]
    for recipe in chosen.recipe or RECIPES:
        shutil.rmtree(chosen.out, ignore_errors=True)
        counts = try_recipe(recipe, chosen.kills, chosen.out, random.Random(f"{chosen.seed} {recipe}"))
        total = [a + b for a, b in zip(total, counts, strict=True)]
        print("{:20} {:4} kills {:3} runs {:3} differ".format(recipe, *counts), flush=True)
    print("{:20} {:4} kills {:3} runs {:3} differ".format("all", *total))


if __name__ == "__main__":
    report()
