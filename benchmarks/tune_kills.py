"""Kill a search of hyper-parameters again and again: is a trial lost, or run twice?

    python benchmarks/tune_kills.py --kills 20 --out runs/tune_kills

`ckd tune` searches the rate of two recipes on tiny data, with a checkpoint every 10 steps. Two processes share the
study. After a random time one of them gets SIGKILL and is called again, until the study has its trials; and a study is
begun after the other until there were so many kills. Then: each study has as many finished trials as were asked; each
trial that was killed is gone on with by one other, so that no values are tried twice; nothing is left running, waiting
or on disk; and every accuracy is that of an undisturbed run with the same values. Unix alone: a process is forked for
each call, which saves the seconds of the imports.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import optuna
import torch

from ckd.bench import parse_search, run
from ckd.bench.search import Search
from ckd.cli import actions, main

BENCHMARK, TRIALS, SEARCH = "split-digits", 12, ("lr=0.01:0.5", "recipe=er,der++")
PROTOCOL: dict[str, Any] = {"experiences": 5, "epochs": 30}
TOGETHER = 2


def nothing(*_: Any, **__: Any) -> None:
    """In the place of a look at names, which takes as long as a trial here."""


def call(out: Path) -> int:
    """Start the command in a process of its own; returns its number."""
    child = os.fork()
    if child:
        return child
    for stream in (1, 2):
        os.dup2(os.open(out / "said", os.O_WRONLY | os.O_APPEND | os.O_CREAT), stream)
    actions.check_names = nothing
    command = ["tune", BENCHMARK, "--trials", str(TRIALS), "--checkpoint-every", "10", "--out", str(out)]
    command += [f"--{name}={value}" for name, value in PROTOCOL.items()] + [f"--search={text}" for text in SEARCH]
    os._exit(main(command))


def search(out: Path, kills: int, longest: float, draw: random.Random) -> int:
    """Search in several processes until all have ended by themselves; returns how many were killed, at most `kills`."""
    out.mkdir(parents=True)
    busy, found, following = {call(out) for _ in range(TOGETHER)}, 0, time.monotonic() + draw.uniform(0.1, longest)
    while busy:
        time.sleep(0.02)
        for process in list(busy):
            ended, status = os.waitpid(process, os.WNOHANG)
            if not ended:
                continue
            busy.remove(process)
            code = os.waitstatus_to_exitcode(status)
            if code == -signal.SIGKILL:
                found += 1
                busy.add(call(out))
            elif code:
                raise SystemExit(f"ended with {code}; see {out / 'said'}")
        if found < kills and busy and time.monotonic() > following:
            os.kill(draw.choice(sorted(busy)), signal.SIGKILL)
            following = time.monotonic() + draw.uniform(0.1, longest)
    return found


def faults(out: Path) -> list[str]:
    """What is wrong with a study that has ended."""
    [summary] = optuna.get_all_study_summaries(f"sqlite:///{out / 'study.db'}")
    trials = optuna.load_study(study_name=summary.study_name, storage=f"sqlite:///{out / 'study.db'}").trials
    done = [trial for trial in trials if trial.state.name == "COMPLETE"]
    wrong = [f"{len(done)} trials finished"] if len(done) != TRIALS else []
    wrong += [f"trial {t.number} is {t.state.name}" for t in trials if t.state.name in ("RUNNING", "WAITING")]
    begun = [trial.user_attrs.get("first", trial.number) for trial in done]
    wrong += [f"trial {n} was finished {begun.count(n)} times" for n in set(begun) if begun.count(n) > 1]
    wrong += [f"values of trial {t.number} twice" for t in done if sum(t.params == u.params for u in done) > 1]
    given = dict(map(parse_search, SEARCH))
    asked = Search(BENCHMARK, "er", given, 1, None, {}, {"n_experiences": 5, "epochs": PROTOCOL["epochs"]})
    for trial in done:
        [spec] = asked.specs(trial.params)
        accuracy = run(spec).matrix.average_accuracy()
        if accuracy != trial.value:
            wrong.append(f"trial {trial.number} has {trial.value}, undisturbed {accuracy}")
    kept = {"study.db", "study.json", "said"}
    return wrong + [str(file) for file in out.rglob("*") if file.is_file() and file.name not in kept]


def report() -> None:
    """Kill, look, and print a line for each study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="in all (default: %(default)s)")
    parser.add_argument("--longest", type=float, default=12.0, metavar="S", help="seconds from a kill to the next")
    parser.add_argument("--seed", type=int, default=0, help="of the times (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder that is emptied")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    gc.freeze()  # else each process looks through all that was imported
    shutil.rmtree(chosen.out, ignore_errors=True)
    draw, studies, found, wrong = random.Random(chosen.seed), 0, 0, 0
    while found < chosen.kills:
        out = chosen.out / f"study{studies}"
        kills = search(out, chosen.kills - found, chosen.longest, draw)
        seen = faults(out)
        resumed = (out / "said").read_text().count(" goes on after ")
        print(f"study {studies}: {kills} kills, {resumed} runs went on from a checkpoint, wrong: {seen}", flush=True)
        studies, found, wrong = studies + 1, found + kills, wrong + len(seen)
    print(f"{found} kills, {studies} studies of {TRIALS} trials, {wrong} faults")


if __name__ == "__main__":
    report()
