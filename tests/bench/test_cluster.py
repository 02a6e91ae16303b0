"""Runs on a Ray cluster: the same results, what is lost, what is refused; most of it with a Ray of the test's own."""

import io
import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

import ckd.bench.cluster
from ckd.bench import RayCluster, load, plan, run_suite
from ckd.bench.cluster import RETRIES
from ckd.bench.jobs import WorkerError
from ckd.bench.suite import DivergedError
from ckd.errors import CkdError, ConfigError


def specs(*recipes, seeds=1):
    return [
        plan("split-digits", r, seed=s, memory_size=20, n_experiences=2, epochs=1, samples_per_class=20)
        for r in recipes
        for s in range(seeds)
    ]


BAD = plan("split-digits", "naive", seed=8, n_experiences=2, epochs=1, lr=1e30)
REFUSED = plan("split-digits", "naive", seed=0, n_experiences=3)


def files(folder):
    return sorted(folder.rglob("result.json"))


class RayError(Exception):
    """As Ray's."""


class RayTaskError(RayError):
    """As Ray's: what a task raised is its `cause`."""

    def __init__(self, cause):
        super().__init__(str(cause))
        self.cause = cause


@dataclass
class FakeRay:
    """A Ray that does a task when it is waited for, in this process.

    Attributes:
        nodes_: resources of the nodes.
        lost: the first so many tasks end with their worker.
        lose_actors: whether calls of actors fail.
        interrupt: raise KeyboardInterrupt once so many tasks are done.
        initialized: whether the process is connected.
    """

    nodes_: list = field(default_factory=lambda: [{"CPU": 1.0}])
    lost: int = 0
    lose_actors: bool = False
    interrupt: int | None = None
    initialized: bool = False
    exceptions: object = field(default_factory=lambda: SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError))
    done: int = 0
    options: list = field(default_factory=list)
    said: list = field(default_factory=list)
    tasks: dict = field(default_factory=dict)
    outcomes: dict = field(default_factory=dict)
    cancelled: list = field(default_factory=list)

    def is_initialized(self):
        return self.initialized

    def init(self, address, **given):
        self.said.append(("init", address))

    def shutdown(self):
        self.said.append("shutdown")

    def nodes(self):
        return [{"Alive": True, "Resources": node} for node in self.nodes_] + [{"Alive": False, "Resources": {}}]

    def remote(self, **options):
        self.options.append(options)
        return self.wrap

    def wrap(self, what):
        if not isinstance(what, type):
            return SimpleNamespace(remote=lambda *arguments: self.submit(what, arguments))
        actor = what()

        put = SimpleNamespace(remote=lambda *report: None if self.lose_actors else actor.put(*report))
        take = SimpleNamespace(remote=lambda: self.submit(self.take_from, (actor,)))
        return SimpleNamespace(remote=lambda: SimpleNamespace(put=put, take=take))

    def take_from(self, actor):
        if self.lose_actors:
            raise RayError("The actor died.")
        return actor.take()

    def submit(self, function, arguments):
        ref = object()
        self.tasks[ref] = (function, arguments)
        return ref

    def wait(self, refs, *, num_returns=1, timeout):
        function, arguments = self.tasks[refs[0]]
        if function == self.take_from:
            self.outcomes[refs[0]] = self.attempt(function, arguments)
        elif self.done == self.interrupt:
            raise KeyboardInterrupt
        else:
            self.done += 1
            lost = self.done <= self.lost
            self.outcomes[refs[0]] = RayError("The worker died.") if lost else self.attempt(function, arguments)
        return refs[:1], refs[1:]

    def attempt(self, function, arguments):
        try:
            return function(*arguments)
        except Exception as error:
            return error if isinstance(error, RayError) else RayTaskError(error)

    def get(self, ref):
        if isinstance(self.outcomes[ref], Exception):
            raise self.outcomes[ref]
        return self.outcomes[ref]

    def cancel(self, ref, *, force):
        self.cancelled.append(ref)


@pytest.fixture
def ray(monkeypatch):
    """In place of Ray."""
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    return fake


def test_every_run_reserves_what_is_asked_and_is_started_again_if_its_worker_is_lost(suite, ray):
    ray.nodes_ = [{"CPU": 1.0}, {"CPU": 4.0, "GPU": 2.0}]
    results, _ = suite(specs("naive", seeds=2), cluster=RayCluster(cpus=2))
    assert [r.spec for r in results] == specs("naive", seeds=2)
    actor, task = ray.options
    assert task == {"num_cpus": 2, "num_gpus": 0.0, "max_retries": RETRIES}
    assert actor == {"num_cpus": 0, "max_restarts": -1}


def test_the_connection_is_left_as_it_was(suite, ray):
    suite(specs("naive"), cluster=RayCluster("local"))
    assert ray.said == [("init", "local"), "shutdown"]
    ray.initialized = True
    suite(specs("er"), cluster=RayCluster())
    assert ray.said == [("init", "local"), "shutdown"]


def test_what_is_finished_needs_no_cluster(suite, ray):
    suite(specs("naive"))
    suite(specs("naive"), cluster=RayCluster())
    assert ray.said == []


def test_a_run_that_diverges_ends_no_other(suite, ray, tmp_path):
    with pytest.raises(DivergedError, match="naive, seed 8"):
        suite([BAD, *specs("naive")], cluster=RayCluster())
    assert [load(file).spec for file in files(tmp_path)] == specs("naive")


def test_what_a_run_raises_is_raised_as_at_home_and_cancels_the_others(suite, ray, tmp_path):
    with pytest.raises(ConfigError, match="a divisor of 10") as error:
        suite([*specs("naive"), REFUSED, *specs("er", seeds=2)], cluster=RayCluster())
    assert type(error.value) is ConfigError
    assert len(ray.cancelled) == 2
    assert [load(file).spec for file in files(tmp_path)] == specs("naive")
    assert ray.said[-1] == "shutdown"


def test_an_interrupt_cancels_what_is_left_and_keeps_what_is_finished(suite, ray, tmp_path):
    ray.interrupt = 1
    with pytest.raises(KeyboardInterrupt):
        suite(specs("naive", seeds=3), cluster=RayCluster())
    assert len(ray.cancelled) == 2
    assert [load(file).spec for file in files(tmp_path)] == specs("naive")
    assert ray.said[-1] == "shutdown"


def test_a_run_whose_workers_are_lost_again_and_again_is_an_error(suite, ray):
    ray.lost = 1
    with pytest.raises(WorkerError, match=r"after 3 retries; received The worker died\."):
        suite(specs("naive"), cluster=RayCluster())


def on_a_terminal(out):
    printed = io.StringIO()
    console = Console(file=printed, width=200, force_terminal=True)
    run_suite(specs("naive", seeds=2), out, cluster=RayCluster(), console=console)
    return printed.getvalue()


def test_runs_move_their_bars_on_a_terminal(tmp_path, ray):
    assert re.search(r"naive, seed 1 [^\n]* 2\.0/2 experiences", on_a_terminal(tmp_path))


def test_lost_reports_lose_nothing_else(tmp_path, ray):
    ray.lose_actors = True
    assert "experiences" not in on_a_terminal(tmp_path)
    assert len(files(tmp_path)) == 2


def test_a_worker_with_other_code_is_refused_before_it_trains(suite, ray, tmp_path, monkeypatch):
    monkeypatch.setattr(ckd.bench.cluster, "CODE", "0123456789ab")
    with pytest.raises(ConfigError, match=r"0123456789ab, on every node; received other code, .* Install the same"):
        suite(specs("naive", seeds=2), cluster=RayCluster())
    assert files(tmp_path) == []


def test_a_worker_without_ckd_is_refused(suite, ray, monkeypatch):
    monkeypatch.setitem(sys.modules, "ckd.bench.code", None)
    with pytest.raises(ConfigError, match="none that can be imported on"):
        suite(specs("naive"), cluster=RayCluster())


def test_a_run_that_no_node_can_do_is_refused(suite, ray):
    with pytest.raises(ConfigError, match="2 CPU and 0 GPU for a run; received one with 1 CPU and 0 GPU"):
        suite(specs("naive"), cluster=RayCluster(cpus=2))


def test_nobody_at_the_address_is_refused_at_once(suite, ray):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = "{}:{}".format(*taken.getsockname())
        with pytest.raises(ConfigError, match=f"Ray cluster: .* received {address}: .*refused"):
            suite(specs("naive"), cluster=RayCluster(address))
    assert ray.said == []


@pytest.mark.parametrize(("device", "gpus"), [("cuda", 0.0), ("cpu", 0.5)])
def test_cuda_and_a_reserved_gpu_go_together(suite, ray, device, gpus):
    with pytest.raises(ConfigError, match="or neither"):
        suite(specs("naive"), cluster=RayCluster(gpus=gpus), device=device)


@pytest.mark.parametrize("share", [{"cpus": 0}, {"cpus": float("nan")}, {"gpus": -1}, {"gpus": 2}])
def test_shares_that_cannot_be_reserved_are_refused(ray, share):
    with pytest.raises(ConfigError, match="of a run: expected"):
        RayCluster(**share)


def test_jobs_on_a_cluster_are_refused(suite, ray):
    with pytest.raises(ConfigError, match="jobs: expected none on a cluster"):
        suite(specs("naive"), cluster=RayCluster(), jobs=2)


def test_trackers_on_a_cluster_are_refused(suite, ray):
    with pytest.raises(ConfigError, match="runs on a cluster"):
        suite(specs("naive"), cluster=RayCluster(), track=["csv"])


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CkdError, match=r"pip install 'avalanche-ckd\[ray\]'"):
        RayCluster()


# a real one --------------------------------------------------------------------------------------------------------


def content(file):
    found = json.loads(file.read_text())
    del found["seconds"], found["made"]
    return found


def test_a_real_cluster_finds_bit_for_bit_the_same(suite, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed")
    out = tmp_path / "cluster"
    command = ["run", "split-digits", "--recipe", "der++", "--memory-size", "20", "--out", str(out)]
    tiny = ["--experiences", "2", "--epochs", "1", "--samples-per-class", "20", "--ray", "local"]
    env = os.environ | {"RAY_worker_niceness": "0"}  # it is 15: beside other work the run would take minutes
    done = subprocess.run(
        [sys.executable, "-m", "ckd.cli", *command, *tiny], capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == 0, done.stderr
    expected, _ = suite(specs("der++"))
    for result in expected:
        here, there = (folder / result.spec.folder / "result.json" for folder in (tmp_path, out))
        assert content(there) == content(here) | {"source": content(there)["source"]}
        with np.load(here.with_name("predictions.npz")) as ours, np.load(there.with_name("predictions.npz")) as theirs:
            assert ours.files == theirs.files
            assert all(np.array_equal(ours[name], theirs[name]) for name in ours.files)
