"""Several runs at once: the same results, one thread each, nothing lost and nothing left running."""

import concurrent.futures
import io
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from unittest.mock import MagicMock

import numpy as np
import psutil
import pytest
import torch
from rich.console import Console

import ckd.bench.jobs
import ckd.bench.suite
from ckd.bench import Result, load, plan, run_suite, save
from ckd.bench.jobs import WorkerError
from ckd.bench.suite import DivergedError
from ckd.errors import ConfigError, DataError
from ckd.evaluation import AccuracyMatrix


def specs(*recipes, seeds=1):
    return [
        plan("split-digits", r, seed=s, memory_size=20, n_experiences=2, epochs=1, samples_per_class=20)
        for r in recipes
        for s in range(seeds)
    ]


def files(folder):
    return sorted(folder.rglob("result.json"))


BAD = plan("split-digits", "naive", seed=8, n_experiences=2, epochs=1, lr=1e30)
LONG = plan("split-digits", "naive", seed=9, n_experiences=2, epochs=10_000)
"""A run that no test waits for."""


@pytest.fixture(scope="module")
def one_by_one_and_at_once(tmp_path_factory):
    """A suite, one run of which diverges, with 1 and with 2 jobs: what was printed, the error and the results."""
    found = []
    for jobs in (1, 2):
        out, printed = tmp_path_factory.mktemp("suite"), io.StringIO()
        with pytest.raises(DivergedError) as error:
            run_suite([BAD, *specs("naive", "der++")], out, jobs=jobs, console=Console(file=printed, width=200))
        found.append((printed.getvalue(), str(error.value), [load(file) for file in files(out)]))
    return found


def test_runs_at_once_find_bit_for_bit_the_same(one_by_one_and_at_once):
    (*_, expected), (*_, found) = one_by_one_and_at_once
    assert len(expected) == 2
    for one, other in zip(expected, found, strict=True):
        assert one.spec == other.spec
        assert one.losses == other.losses
        assert one.matrix.to_json() == other.matrix.to_json()
        assert one.task_matrix.to_json() == other.task_matrix.to_json()


def test_runs_at_once_that_diverge_are_named_at_the_end(one_by_one_and_at_once):
    (_, expected, _), (_, said, _) = one_by_one_and_at_once
    assert "naive, seed 8" in said
    assert said == expected


def test_each_run_that_ends_is_a_line(one_by_one_and_at_once):
    for printed, *_ in one_by_one_and_at_once:
        lines = re.findall(r"^\[(\d)/3\] (.*seed \d): (.{5})", printed, re.MULTILINE)
        assert [n for n, *_ in lines] == ["1", "2", "3"]
        assert sorted(name for _, name, _ in lines) == ["der++, memory 20, seed 0", "naive, seed 0", "naive, seed 8"]


ONE = [[0.9, 0.0], [0.5, 0.8]]


def result(recipe, seed, rows, memory_size=200, **settings):
    return Result(
        spec=plan("split-digits", recipe, seed=seed, memory_size=memory_size, settings=settings),
        matrix=AccuracyMatrix(rows),
        task_matrix=AccuracyMatrix(rows),
        losses={},
        seconds={"training": 1.0 + seed, "evaluation": 1.0},
        memory_bytes={"inputs": 12_000, "labels": 1_600},
        made={},
    )


def replacement(spec, **given):
    """In place of `run`, in a worker: seed 8 is refused, seed 9 takes long; the others look at their process."""
    if spec.seed == 8:
        raise ConfigError("seed", expected="another", received=8, fix="Use 7.")
    time.sleep(30 * (spec.seed == 9))
    seen = {"threads": torch.get_num_threads(), "interrupts": 0}
    try:
        signal.raise_signal(signal.SIGINT)  # as a terminal does to all processes
    except KeyboardInterrupt:
        seen["interrupts"] = 1
    given["progress"](1.5, 2, 3.0)
    return replace(result("naive", 0, ONE), spec=spec, memory_bytes=seen)


def halfway(spec, *, progress, **given):
    """In place of `run`, in this process: reports once."""
    progress(1.5, 2, 3.0)
    return replace(result("naive", 0, ONE), spec=spec)


@pytest.mark.parametrize(("jobs", "instead"), [(1, halfway), (2, replacement)])
def test_runs_move_their_bars_and_workers_have_one_thread_each_and_leave_interrupts_to_the_parent(
    tmp_path, monkeypatch, jobs, instead
):
    monkeypatch.setattr(ckd.bench.suite, "run", instead)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    printed = io.StringIO()
    console = Console(file=printed, width=200, force_terminal=True)
    results = run_suite(specs("naive", seeds=2), tmp_path, jobs=jobs, console=console)
    for seed in range(2):
        assert re.search(rf"naive, seed {seed} [^\n]* 1\.5/2 experiences, 3\.0 s", printed.getvalue())
    if jobs == 2:
        assert [r.memory_bytes for r in results] == [{"threads": 1, "interrupts": 0}] * 2
        assert os.environ["OMP_NUM_THREADS"] == "2"


@pytest.mark.skipif(os.name != "posix", reason="there are no signal masks")
def test_a_worker_of_a_server_that_is_older_has_one_thread_and_leaves_interrupts_to_the_parent(monkeypatch):
    monkeypatch.setattr(ckd.bench.jobs, "Thread", MagicMock())
    monkeypatch.setattr(ckd.bench.jobs, "_reports", None, raising=False)
    mask, threads = signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT]), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        ckd.bench.jobs._begin(None)
        assert torch.get_num_threads() == 1
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        torch.set_num_threads(threads)


def test_an_interrupt_stops_the_workers_and_keeps_what_is_finished(suite, tmp_path, monkeypatch):
    workers = []

    def save_and_interrupt(found, out):
        save(found, out)
        workers.extend(multiprocessing.active_children())
        raise KeyboardInterrupt

    monkeypatch.setattr(ckd.bench.suite, "run", replacement)
    monkeypatch.setattr(ckd.bench.suite, "save", save_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        suite([*specs("naive"), LONG], jobs=2)
    assert [load(file).spec for file in files(tmp_path)] == specs("naive")
    assert {worker.exitcode for worker in workers} <= {-signal.SIGTERM, 1, 255}  # 255: the server does not know
    assert len(workers) == 2


def test_what_finishes_together_with_a_failure_is_kept(suite, tmp_path, monkeypatch):
    monkeypatch.setattr(ckd.bench.suite, "run", replacement)
    monkeypatch.setattr(ckd.bench.jobs, "wait", lambda running, **given: concurrent.futures.wait(running))
    with pytest.raises(ConfigError, match="Use 7"):
        suite([BAD, *specs("naive", seeds=5)], jobs=2)
    assert len(files(tmp_path)) == 5


def test_data_are_fetched_before_there_are_workers(suite, tmp_path, monkeypatch):
    np.savez(tmp_path / "mine.npz")
    wanted = [plan(str(tmp_path / "mine.npz"), "naive", seed=s) for s in range(2)]
    monkeypatch.setattr(ckd.bench.jobs, "ProcessPoolExecutor", None)
    with pytest.raises(DataError, match="no x_train"):
        suite(wanted, jobs=2)


def test_what_a_worker_refuses_is_refused_here_and_stops_the_others(suite, monkeypatch):
    monkeypatch.setattr(ckd.bench.suite, "run", replacement)
    with pytest.raises(ConfigError, match="Use 7"):
        suite([BAD, LONG], jobs=2)
    assert not multiprocessing.active_children()


def test_a_worker_that_is_killed_is_an_error(suite, monkeypatch):
    def kill_and_wait(running, **given):
        multiprocessing.active_children()[0].kill()
        return concurrent.futures.wait(running, **given)

    monkeypatch.setattr(ckd.bench.jobs, "wait", kill_and_wait)
    with pytest.raises(WorkerError, match="fewer jobs"):
        suite([LONG, BAD], jobs=2)


WORKERS_AND_SERVERS = 4 if sys.platform.startswith("linux") else 3
"""Two workers, their resource tracker, and what they are forked from."""


def test_workers_end_with_their_parent(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from ckd.bench import plan, run_suite\n"
        "if __name__ == '__main__':\n"
        "    long = [plan('split-digits', 'naive', seed=s, n_experiences=2, epochs=10_000) for s in range(2)]\n"
        f"    run_suite(long, {str(tmp_path)!r}, jobs=2)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as parent:
        while len(family := psutil.Process(parent.pid).children(recursive=True)) < WORKERS_AND_SERVERS:
            assert parent.poll() is None
            time.sleep(0.05)
        parent.kill()
    assert psutil.wait_procs(family, timeout=300)[1] == []


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGTERM")
def test_a_command_that_is_told_to_end_saves_both_runs_and_leaves_no_process(tmp_path):
    command = ["run", "split-digits", "--recipe", "er", "--seeds", "2", "--jobs", "2", "--epochs", "10000"]
    command = [sys.executable, "-m", "ckd.cli", *command, "--checkpoint-every", "5", "--out", str(tmp_path)]

    def saved():
        return {file.parent for file in tmp_path.rglob("checkpoint-*.safetensors")}

    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as parent:
        while len(saved()) < 2:
            assert parent.poll() is None
            time.sleep(0.05)
        family = psutil.Process(parent.pid).children(recursive=True)
        parent.terminate()
        said = parent.communicate(timeout=60)[1]
    assert parent.returncode == 143
    assert said.endswith("and the run under way goes on when this is called again\n")
    assert psutil.wait_procs(family, timeout=60)[1] == []
    assert len(saved()) == 2
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("jobs", [0, -1])
def test_no_jobs_are_refused(suite, jobs):
    with pytest.raises(ConfigError, match="jobs: expected 1 or more"):
        suite(specs("naive"), jobs=jobs)


@pytest.mark.parametrize("kind", [DivergedError, WorkerError])
def test_the_errors_of_a_suite_survive_a_process_boundary(kind):
    error = pickle.loads(pickle.dumps(kind("suite", expected="this", received="that", fix="Mend it.")))
    assert (type(error), str(error)) == (kind, "suite: expected this; received that. Mend it.")
