"""Milliseconds a step: ckd in Avalanche, plain torch twice, and stock Avalanche, interleaved in one process.

    python benchmarks/throughput.py --data-root D                              # MLP on permuted MNIST
    python benchmarks/throughput.py --benchmark split-cifar10 --data-root D    # SlimResNet18
    python benchmarks/throughput.py --method der++ --no-stock --rounds 11 --json throughput.json
    python benchmarks/throughput.py --method der++ --protocol                  # 20 experiences, 20 test sets after each
    python benchmarks/throughput.py --memory --device cuda                     # peak memory too, on a GPU

Every contender learns one experience a round, in turn; the first round, without memory and teacher, does not count. A
figure is the median over rounds, a ratio the median of the rounds' ratios. Evaluation is of one test experience.

"outside" is ckd's share of a step outside forward, backward and update, from an experience that is not in the other
figures. Peak memory is what learning two experiences adds to a fresh process, or on a GPU to what is allocated there.
"""

import argparse
import json
import platform
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from contenders import METHODS, NAMES, PROBLEMS, Contender, Problem, Setting
from measures import PROCESS, peak_of, ratio, seconds, share_outside
from rich.console import Console
from rich.table import Table

from ckd.bench.allocator import keep_freed_memory
from ckd.bench.training import check_device
from ckd.errors import CkdError

RATIOS = ("ckd / plain", "ckd / tight", "stock / ckd", "outside", "evaluation: ckd / tight", "stock / ckd")


def measure(found: dict[str, Contender], rounds: int, warm_up: int = 1) -> None:
    """Let each learn and evaluate one experience a round, in turn; the order turns with the round."""
    names = list(found)
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            contender = found[name]
            learnt = seconds(contender.learn, i, contender.device)
            evaluated = seconds(contender.evaluate, i, contender.device)
            if i >= warm_up:
                contender.step.append(1000 * learnt / contender.steps)
                contender.evaluation.append(1000 * evaluated)


def overhead(setting: Setting) -> float:
    """The share of ckd's second experience that is outside forward, backward and update."""
    contender = setting.contender("ckd")
    contender.learn(0)
    return share_outside(contender, 1)


def whole_protocol(found: dict[str, Contender], rounds: int, console: Console) -> None:
    """Learn every experience and evaluate all test experiences after each; the contenders take turns."""
    spent = dict.fromkeys(found, 0.0)
    for i in range(rounds):
        for name, c in found.items():
            spent[name] += seconds(c.learn, i, c.device) + sum(seconds(c.evaluate, j, c.device) for j in range(rounds))
    for name, total in spent.items():
        console.print(f"{name}: {total:.1f} s; ckd / {name}: {spent['ckd'] / total:.2f}", highlight=False)


def cells(found: dict[str, Contender], outside: float) -> list[str]:
    """A row of the table, in the order of NAMES and RATIOS."""
    ckd, tight, stock = found["ckd"], found["tight"], found.get("stock")
    return [
        *(f"{statistics.median(found[name].step):.2f}" if name in found else "" for name in NAMES),
        *(f"{ratio(ckd.step, found[name].step):.2f}" for name in ("plain", "tight")),
        f"{ratio(stock.step, ckd.step):.1f}" if stock else "",
        f"{100 * outside:.0f}%",
        f"{ratio(ckd.evaluation, tight.evaluation):.2f}",
        f"{ratio(stock.evaluation, ckd.evaluation):.1f}" if stock else "",
    ]


def arguments() -> argparse.Namespace:
    """The command line; the problem as `problem`, the device as a device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmark", choices=PROBLEMS, default="permuted-mnist", help="(default: %(default)s)")
    parser.add_argument("--method", choices=METHODS, action="append", help="(default: all)")
    parser.add_argument("--no-stock", dest="stock", action="store_false", help="leave out stock Avalanche")
    parser.add_argument("--protocol", action="store_true", help="time a whole run instead, without stock Avalanche")
    parser.add_argument("--memory", action="store_true", help="peak memory too, each contender in a fresh process")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--rounds", type=int, metavar="N", help="experiences that each contender learns, at least 2")
    parser.add_argument("--data-root", metavar="D", help="where data sets are kept (default: ~/.cache/ckd)")
    parser.add_argument("--json", metavar="FILE", help="write the figures of every round")
    chosen = parser.parse_args()
    try:
        chosen.device = check_device(chosen.device)
    except CkdError as error:
        parser.error(str(error))
    if chosen.rounds is not None and chosen.rounds < 2:
        parser.error(f"--rounds {chosen.rounds}: the first does not count, so at least 2")
    if chosen.memory and chosen.device.type == "cpu" and not (PROCESS / "clear_refs").exists():
        parser.error("--memory: peak memory on a CPU is read from Linux's /proc")
    if chosen.protocol:
        chosen.stock, chosen.rounds = False, chosen.rounds or {"permuted-mnist": 20}.get(chosen.benchmark)
    problem = PROBLEMS[chosen.benchmark]
    chosen.problem = replace(problem, rounds=chosen.rounds) if chosen.rounds else problem
    return chosen


def write(file: str, problem: Problem, device: torch.device, figures: dict[str, Any]) -> None:
    """The figures of every round, and where they were made."""
    processor = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    made = {"machine": processor, "device": str(device), "torch": torch.__version__, "threads": torch.get_num_threads()}
    Path(file).write_text(json.dumps({**made, "problem": problem.name, "rounds": figures}, indent=1))


def main() -> None:
    """Measure and print."""
    chosen = arguments()
    torch.set_num_threads(1)
    keep_freed_memory()
    problem, console = chosen.problem, Console(width=130)
    names = NAMES if chosen.stock else NAMES[:-1]
    table = Table("method", *NAMES, *RATIOS, title=f"{problem.name}, {problem.network}, batch {problem.batch_size}")
    peaks = Table("method", *names, title="peak memory, MB")
    figures: dict[str, Any] = {}
    for method in chosen.method or METHODS:
        setting = Setting(problem, method, chosen.data_root, chosen.device)
        found = {name: setting.contender(name) for name in names}
        if chosen.protocol:
            console.print(f"{method}, {problem.name}, {problem.rounds} experiences", highlight=False)
            whole_protocol(found, problem.rounds, console)
            continue
        measure(found, problem.rounds)
        figures[method] = {k: {"ms a step": c.step, "ms an evaluation": c.evaluation} for k, c in found.items()}
        outside = figures[method]["ckd"]["share outside forward, backward and update"] = overhead(setting)
        table.add_row(method, *cells(found, outside))
        if chosen.memory:
            peak = {name: peak_of(setting, name) for name in names}
            for name, size in peak.items():
                figures[method][name]["peak MB"] = size
            peaks.add_row(method, *(f"{size:.0f}" for size in peak.values()))
    for found_table in (table, peaks):
        if found_table.row_count:
            console.print(found_table)
    if chosen.json:
        write(chosen.json, problem, chosen.device, figures)


if __name__ == "__main__":
    main()
