"""Milliseconds a step: plain torch twice, ckd in a loop of its own and in Avalanche, stock Avalanche; interleaved.

    python benchmarks/throughput.py --data-root D                              # MLP on permuted MNIST
    python benchmarks/throughput.py --benchmark split-cifar10 --data-root D    # SlimResNet18
    python benchmarks/throughput.py --method der++ --no-stock --rounds 11 --json throughput.json
    python benchmarks/throughput.py --method der++ --protocol                  # 20 experiences, 20 test sets after each
    python benchmarks/throughput.py --memory --device cuda                     # peak memory too, on a GPU

Every contender learns one experience a round, in turn; the first round, without memory and teacher, does not count. A
figure is the median over rounds, a ratio the median of the rounds' ratios. Evaluation is of one test experience.

"outside" is ckd's share of a step outside forward, backward and update, from an experience that is not in the other
figures. Peak memory is what learning two experiences adds to a fresh process, or on a GPU to what is allocated there.

A method's row is printed once it is measured; where it is interrupted, the row is of the rounds that all have finished.
"""

import argparse
import json
import platform
import statistics
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from contenders import METHODS, NAMES, PROBLEMS, Contender, Problem, Setting
from measures import PROCESS, peak_of, ratio, seconds, share_outside
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ckd.bench.allocator import keep_freed_memory
from ckd.bench.training import check_device
from ckd.errors import CkdError

RATIOS = (
    "engine / tight",
    "ckd / plain",
    "ckd / tight",
    "stock / ckd",
    "outside",
    "evaluation: ckd / tight",
    "stock / ckd",
)
COLUMNS = (*NAMES, *RATIOS)

Tell = Callable[[str], Any]
"""Is told who is about to do what."""

Figures = dict[str, dict[str, Any]]
"""What was measured of each contender; filled in place, so that an interrupt leaves what there is."""


def measure(found: dict[str, Contender], rounds: int, warm_up: int = 1, tell: Tell = lambda _: None) -> None:
    """Let each learn and evaluate one experience a round, in turn; the order turns with the round."""
    names = list(found)
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            tell(f"{name}, round {i + 1} of {rounds}")
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


def finished(found: dict[str, Contender]) -> int:
    """How many of the rounds that count all contenders have finished; figures beyond these are dropped."""
    rounds = min(len(contender.evaluation) for contender in found.values())
    for contender in found.values():
        del contender.step[rounds:], contender.evaluation[rounds:]
    return rounds


def compare(setting: Setting, found: dict[str, Contender], figures: Figures, console: Console, tell: Tell) -> None:
    """Measure a method and print its row."""
    outside = None
    try:
        measure(found, setting.problem.rounds, tell=tell)
        tell("ckd, a round more for what is outside")
        outside = overhead(setting)
    finally:
        if finished(found):
            print_row(console, setting.method, cells(found, outside))
            for name, c in found.items():
                figures[name] = {"ms a step": c.step, "ms an evaluation": c.evaluation}
            figures["ckd"]["share outside forward, backward and update"] = outside


def peaks(setting: Setting, figures: Figures, console: Console, tell: Tell) -> None:
    """Measure the peak memory of each contender and print the row."""
    for name in figures:
        tell(f"{name}, peak memory")
        figures[name]["peak MB"] = peak_of(setting, name)
    print_row(console, "peak MB", (f"{figures[name]['peak MB']:.0f}" if name in figures else "" for name in NAMES))


def whole_protocol(
    setting: Setting, found: dict[str, Contender], figures: Figures, console: Console, tell: Tell
) -> None:
    """Learn every experience and evaluate all test experiences after each; the contenders take turns."""
    rounds = setting.problem.rounds
    spent: dict[str, list[float]] = {name: [] for name in found}
    try:
        for i in range(rounds):
            for name, c in found.items():
                tell(f"{name}, experience {i + 1} of {rounds}")
                learnt = seconds(c.learn, i, c.device)
                spent[name].append(learnt + sum(seconds(c.evaluate, j, c.device) for j in range(rounds)))
    finally:
        done = min(map(len, spent.values()))
        ckd = sum(spent["ckd"][:done])
        print_line(console, f"{setting.method}, {setting.problem.name}, {done} of {rounds} experiences")
        for name, times in spent.items():
            figures[name] = {"s an experience": times[:done]}
            if total := sum(times[:done]):
                print_line(console, f"{name}: {total:.1f} s; ckd / {name}: {ckd / total:.2f}")


def cells(found: dict[str, Contender], outside: float | None) -> list[str]:
    """A row of the table, in the order of NAMES and RATIOS; blank where there is no figure."""
    ckd, tight, stock = found["ckd"], found["tight"], found.get("stock")
    return [
        *(f"{statistics.median(found[name].step):.2f}" if name in found else "" for name in NAMES),
        f"{ratio(found['engine'].step, tight.step):.2f}",
        *(f"{ratio(ckd.step, found[name].step):.2f}" for name in ("plain", "tight")),
        f"{ratio(stock.step, ckd.step):.1f}" if stock else "",
        "" if outside is None else f"{100 * outside:.0f}%",
        f"{ratio(ckd.evaluation, tight.evaluation):.2f}",
        f"{ratio(stock.evaluation, ckd.evaluation):.1f}" if stock else "",
    ]


def print_row(console: Console, label: str, row: Iterable[str]) -> None:
    """A line of the table, each cell under its column."""
    cells = (f"{cell:>{max(6, len(column)) + 2}}" for column, cell in zip(COLUMNS, row, strict=False))
    print_line(console, f"{label:8}{''.join(cells)}")


def print_line(console: Console, text: str) -> None:
    """A line as it is, however narrow the terminal."""
    console.print(text.rstrip(), highlight=False, markup=False, soft_wrap=True)


@contextmanager
def progress(console: Console, pieces: int) -> Iterator[Callable[[str, str], None]]:
    """A bar of so many pieces of work where there is a terminal; each is told, by method, as it begins."""
    if not console.is_terminal:
        yield lambda *_: None
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    # drawn between what is timed, not by a thread beside it
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=pieces)

        def tell(method: str, what: str) -> None:
            bar.update(task, description=f"{method}: {what}", advance=1, refresh=True)

        yield tell


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
    problem, console = chosen.problem, Console()
    figures: dict[str, Figures] = {}
    names = [name for name in NAMES if chosen.stock or name != "stock"]
    methods = chosen.method or METHODS
    if not chosen.protocol:
        print_line(console, f"{problem.name}, {problem.network}, batch {problem.batch_size}")
        print_row(console, "method", COLUMNS)
    pieces = problem.rounds * len(names) + (0 if chosen.protocol else 1 + chosen.memory * len(names))
    try:
        with progress(console, pieces * len(methods)) as tell:
            for method in methods:
                setting = Setting(problem, method, chosen.data_root, chosen.device)
                found = {name: setting.contender(name) for name in names}
                common = figures.setdefault(method, {}), console, partial(tell, method)
                (whole_protocol if chosen.protocol else compare)(setting, found, *common)
                if chosen.memory and not chosen.protocol:
                    peaks(setting, *common)
    finally:
        if chosen.json and any(figures.values()):
            write(chosen.json, problem, chosen.device, figures)


if __name__ == "__main__":
    main()
