"""Runs one after the other, or several at a time in processes of their own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.context import BaseContext
from multiprocessing.queues import SimpleQueue
from threading import Thread

import torch

from ckd.bench.allocator import keep_freed_memory
from ckd.bench.result import Result
from ckd.errors import CkdError
from ckd.signals import Interrupted, handling, raise_interrupted, raise_noted

Report = Callable[[int, float, int, float], None]
"""report(number of the run, experiences learnt, of how many, seconds of training and evaluation)"""

Todo = Mapping[int, Callable[..., Result]]
"""What does each run, given a `progress`, by the number of the run."""

Finish = Callable[[int, Callable[[], Result]], None]
"""finish(number of the run, what returns its result or raises what went wrong)"""


class WorkerError(CkdError, RuntimeError):
    """A process of a suite ended before its run did."""


def one_by_one(todo: Todo, report: Report, finish: Finish) -> None:
    """Do the runs in this process."""
    for i, act in todo.items():
        report(i, 0, 1, 0.0)
        finish(i, partial(act, progress=partial(report, i)))
        raise_noted()


def side_by_side(todo: Todo, jobs: int, report: Report, finish: Finish) -> None:
    """Do the runs in so many processes, with one thread each; reports and results are taken in this one.

    Raises:
        WorkerError: a process that ended before its run did.
    """
    others, context = set(active_children()), _processes()
    reports = context.SimpleQueue()
    pool = ProcessPoolExecutor(jobs, context, _begin, (reports,))
    try:
        with _for_workers():
            running = {pool.submit(_work, i, act): i for i, act in todo.items()}
        while running:
            raise_noted()
            done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            while not reports.empty():
                report(*reports.get())
            for future in sorted(done, key=lambda future: future.exception() is not None):  # results first: they stay
                finish(running.pop(future), future.result)
    except BrokenProcessPool as error:  # the pool has stopped the other workers
        raise WorkerError(
            "suite",
            expected="processes that finish their runs",
            received="one that ended before",
            fix='If memory was short, use fewer jobs. A script must start the suite under `if __name__ == "__main__"`.',
        ) from error
    except BaseException as error:
        workers = set(active_children()) - others
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()
        if isinstance(error, Interrupted):
            error.saved = any(worker.exitcode == _SAVED for worker in workers)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _processes() -> BaseContext:
    """How workers start: forked from a server that has imported what runs need; elsewhere each imports it anew.

    That takes seconds, and some hundred MB that forked workers share.
    """
    if not sys.platform.startswith("linux"):  # on macOS system libraries may not survive a fork
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(["ckd.bench", "ckd.plugins", "avalanche.training"])
    return context


@contextmanager
def _for_workers() -> Iterator[None]:
    """Processes started in here compute in one thread and leave Ctrl-C to this one."""
    threads = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    os.environ.update(dict.fromkeys(threads, "1"))
    mask = None if sys.platform == "win32" else signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        for name, value in threads.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


_SAVED = 128 + signal.SIGTERM
"""Exit status of a worker that was told to end, and has saved its run."""

_reports: SimpleQueue[tuple[int, float, int, float]]
"""In a worker: what the parent's `report` is called with."""


def _begin(reports: SimpleQueue[tuple[int, float, int, float]]) -> None:
    """Set a worker up; it ends when the parent does, however that ends."""
    global _reports
    _reports = reports
    torch.set_num_threads(1)  # also if the server is older than this suite
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    keep_freed_memory()
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _work(i: int, act: Callable[..., Result]) -> Result:
    _reports.put((i, 0, 1, 0.0))
    try:
        with handling(raise_interrupted, signal.SIGTERM):
            result = act(progress=lambda *state: _reports.put((i, *state)))
            raise_noted()
            return result
    except Interrupted as ended:  # the parent ends too, and wants no other run
        os._exit(_SAVED if ended.saved else 1)
