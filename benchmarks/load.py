"""Many commands at once on few cores, one of them killed every so often: do all end, and with the same numbers?

    python benchmarks/load.py --minutes 10 --out runs/load

Eight `ckd run`s, two of them with --jobs 2, run at the same time, each again with another seed when it has ended.
Every 30 seconds one of them, drawn at random, gets SIGKILL and is called again. When the time is up, each comes to the
end of what it does. Then every run is done once more, undisturbed, in this process, and compared bit for bit; a process
that is left, or a file of a checkpoint or a lock, is named. Linux alone: this process inherits those that lose their
parent, so that it sees them; and a process is forked for each call, which saves the seconds of the imports.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import torch

import ckd.bench.suite
from ckd.bench import Result, load, run
from ckd.cli import actions, main

RECIPES = ("er", "der++", "lwf", "tether", "mean-er", "ewc", "naive", "ballast")
TOGETHER = 2
"""The first of them do two seeds with --jobs 2."""

SUBREAPER = 36
"""Of prctl(2)."""


class Slot:
    """One command at a time, with one seed, or two, after the other."""

    def __init__(self, recipe: str, out: Path, epochs: int, together: bool) -> None:
        self.recipe, self.out, self.epochs, self.together = recipe, out / recipe, epochs, together
        self.round = self.ended = self.pid = 0

    def call(self) -> None:
        """Call the command in a process of its own."""
        n = 2 if self.together else 1
        seeds = f"{n * self.round}-{n * self.round + n - 1}"
        command = ["run", "split-digits", "--recipe", self.recipe, "--seeds", seeds, "--jobs", str(n)]
        command += ["--epochs", str(self.epochs), "--memory-size", "100", "--checkpoint-every", "20"]
        self.pid = os.fork()
        if self.pid:
            return
        for stream in (1, 2):
            os.dup2(os.open(self.out.parent / "said", os.O_WRONLY | os.O_APPEND | os.O_CREAT), stream)
        ckd.bench.suite.plot_forgetting = nothing  # type: ignore[assignment]
        actions.check_names = nothing
        os._exit(main([*command, "--out", str(self.out)]))

    def poll(self) -> bool:
        """Whether the process has ended; an error ends all."""
        found, status = os.waitpid(self.pid, os.WNOHANG)
        if not found:
            return False
        code = os.waitstatus_to_exitcode(status)
        if code not in (0, -signal.SIGKILL):
            sys.exit(f"{self.recipe} ended with {code}; see {self.out.parent / 'said'}")
        if code == 0:
            self.round, self.ended = self.round + 1, self.ended + 1
        return True


def nothing(*_: Any, **__: Any) -> None:
    """In the place of pictures, and of a look at names that takes as long as a short run."""


def disturb(slots: list[Slot], minutes: float, every: float, draw: random.Random) -> int:
    """Keep all at work for so long, and let them end; returns how many were killed."""
    end, following, kills = time.monotonic() + 60 * minutes, time.monotonic() + every, 0
    for slot in slots:
        slot.call()
    busy = list(slots)
    while busy:
        time.sleep(0.05)
        for slot in list(busy):
            before = slot.ended
            if slot.poll():
                if slot.ended > before and time.monotonic() > end:
                    busy.remove(slot)
                else:
                    slot.call()
        if busy and time.monotonic() > following and time.monotonic() < end:
            os.kill(draw.choice(busy).pid, signal.SIGKILL)
            kills, following = kills + 1, following + every
    return kills


def left_over(out: Path) -> list[str]:
    """Processes that are still there, and files that a finished run does not leave."""
    with suppress(ChildProcessError):
        until = time.monotonic() + 20
        while time.monotonic() < until:
            os.waitpid(-1, os.WNOHANG)
            time.sleep(0.1)
    processes = [f"process {one.pid}" for one in psutil.Process().children(recursive=True)]
    kept = ("result.json", "predictions.npz", "said")
    return processes + [str(file) for file in out.rglob("*") if file.is_file() and file.name not in kept]


def numbers(result: Result) -> Any:
    """What a run found, without seconds, dates and predictions."""
    return result.matrix.to_json(), result.task_matrix.to_json(), result.losses, result.steps, result.memory_bytes


def report() -> None:
    """Disturb, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--every", type=float, default=30.0, metavar="S", help="seconds from a kill to the next")
    parser.add_argument("--epochs", type=int, default=20, metavar="E", help="of each run (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of who is killed (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder that is emptied")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    shutil.rmtree(chosen.out, ignore_errors=True)
    chosen.out.mkdir(parents=True)
    slots = [Slot(recipe, chosen.out, chosen.epochs, i < TOGETHER) for i, recipe in enumerate(RECIPES)]
    try:
        kills = disturb(slots, chosen.minutes, chosen.every, random.Random(chosen.seed))
    except BaseException:
        for one in psutil.Process().children(recursive=True):
            one.kill()
        raise
    left = left_over(chosen.out)
    found = [load(file) for file in sorted(chosen.out.rglob("result.json"))]
    differ = [result.spec.name for result in found if numbers(run(result.spec)) != numbers(result)]
    ended, resumed = sum(slot.ended for slot in slots), (chosen.out / "said").read_text().count(" goes on after ")
    print(f"{ended} commands ended, {kills} kills, {resumed} runs went on from a checkpoint")
    print(f"{len(found)} results, of which {len(differ)} differ from an undisturbed run {differ or ''}")
    print(f"{len(left)} processes and files left {left or ''}")


if __name__ == "__main__":
    report()
