"""What throughput.py measures: seconds, the share of a step that is overhead, and peak memory."""

import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from contenders import Contender, Setting

from ckd import SelfDistillation
from ckd.bench.allocator import keep_freed_memory

PROCESS = Path("/proc/self")
"""What Linux says about this process."""


def seconds(act: Callable[[int], Any], i: int, device: torch.device) -> float:
    """How long act(i) takes, until the device has done it."""
    _wait_for(device)
    start = time.perf_counter()
    act(i)
    _wait_for(device)
    return time.perf_counter() - start


def ratio(one: list[float], other: list[float]) -> float:
    """The median over rounds of one / other."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def share_outside(contender: Contender, i: int) -> float:
    """Share of learning experience i that no network's forward pass, no backward pass and no update takes.

    That is drawing, preparing, the losses, the memory and Avalanche's loop. Each of the three is waited for, so a round
    that is timed for its own sake must not be this one.
    """
    inside = started = 0.0

    def start(*_: Any) -> None:
        nonlocal started
        _wait_for(contender.device)
        started = time.perf_counter()

    def stop(*_: Any) -> None:
        nonlocal inside
        _wait_for(contender.device)
        inside += time.perf_counter() - started

    strategy = contender.strategy
    objectives = [plugin.objective for plugin in strategy.plugins if isinstance(plugin, SelfDistillation)]
    teachers = [t.model.module for objective in objectives for t in objective.teachers.values() if t.ready]
    with ExitStack() as stack:
        for module in (strategy.model, *teachers):
            stack.callback(module.register_forward_pre_hook(start).remove)
            stack.callback(module.register_forward_hook(stop).remove)
        for name in ("backward", "optimizer_step"):
            setattr(strategy, name, _between(start, getattr(strategy, name), stop))
            stack.callback(delattr, strategy, name)
        total = seconds(contender.learn, i, contender.device)
    return 1 - inside / total


def peak_of(setting: Setting, name: str) -> float:
    """MB by which memory grows, at most, while a contender learns two experiences in a process of its own."""
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawned) as pool:
        return pool.submit(_learn_two, setting, name).result()


def _learn_two(setting: Setting, name: str) -> float:
    torch.set_num_threads(1)
    contender = setting.contender(name)
    keep_freed_memory()  # not before the data are read: what that leaves free would hide what learning takes
    return peak_growth(lambda: [contender.learn(i) for i in range(2)], setting.device)


def peak_growth(act: Callable[[], Any], device: torch.device) -> float:
    """MB of memory at most in use during `act` beyond what was in use before: allocated on a GPU, else resident."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        act()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    (PROCESS / "clear_refs").write_text("5")  # the peak is from now on; getrusage's is inherited from the parent
    before = _peak_resident()
    act()
    return (_peak_resident() - before) / 2**10


def _peak_resident() -> int:
    """In kB."""
    lines = (PROCESS / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def _between(start: Callable[[], None], act: Callable[[], Any], stop: Callable[[], None]) -> Callable[[], None]:
    def timed() -> None:
        start()
        act()
        stop()

    return timed


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
