"""Runs on a Ray cluster, each in a task of its own."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from ckd.bench.code import CODE
from ckd.bench.jobs import Finish, Report, Todo, WorkerError
from ckd.bench.result import Result
from ckd.errors import ConfigError

RETRIES = 3
"""How often a run is started again after its worker or its node was lost."""


@dataclass(frozen=True)
class RayCluster:
    """Where runs are done, and what each of them reserves there.

    Attributes:
        address: as `ray.init` takes it; None for the cluster that this machine belongs to, or a new one on this machine
            if there is none. A process that is connected to a cluster already stays with it.
        cpus: CPUs that a run reserves. It computes in one thread all the same.
        gpus: share of a GPU that a run reserves, up to 1.

    Raises:
        ConfigError: shares that cannot be reserved, or no Ray.
    """

    address: str | None = None
    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if not self.cpus > 0:
            raise ConfigError("CPUs of a run", expected="above 0", received=self.cpus, fix="Leave it out for 1.")
        if not 0 <= self.gpus <= 1:
            fix = "A run uses one GPU, or shares it: 0.5 for two runs on each."
            raise ConfigError("GPUs of a run", expected="from 0 to 1", received=self.gpus, fix=fix)
        _ray()

    def check_device(self, device: str) -> None:
        """Refuse a device that a run would not find, or a GPU that it would not use.

        Raises:
            ConfigError: cuda without a GPU reserved, or the reverse.
        """
        if device.startswith("cuda") != (self.gpus > 0):
            raise ConfigError(
                "device of the runs on a cluster",
                expected="cuda, and a GPU or a share of one reserved for each run; or neither",
                received=f"{device} and {self.gpus:g} GPUs",
                fix="Use --device cuda with --gpus-per-run 1, or leave both out.",
            )


def on_cluster(todo: Todo, cluster: RayCluster, report: Report, finish: Finish) -> None:
    """Do the runs as tasks of the cluster, with one thread each; reports and results are taken in this process.

    A run whose worker or node is lost is started again elsewhere. Every worker's code is checked before it trains.

    Raises:
        ConfigError: no such cluster, no node that is large enough, or one without this code.
        WorkerError: a run whose workers were lost again and again.
    """
    ray = _ray()
    with _connected(ray, cluster.address):
        _check_nodes(ray, cluster)
        reports = ray.remote(num_cpus=0, max_restarts=-1)(_reports_class()).remote()
        start = ray.remote(num_cpus=cluster.cpus, num_gpus=cluster.gpus, max_retries=RETRIES)(_task(CODE, os.getcwd()))
        running: dict[Any, int] = {}
        try:
            for i, act in todo.items():
                running[start.remote(i, pickle.dumps(act), reports)] = i
            news = reports.take.remote()
            while running:
                done, _ = ray.wait(list(running), num_returns=len(running), timeout=0.2)
                news = _pass_on(ray, reports, news, report)
                ended = [(running.pop(ref), _outcome(ray, ref)) for ref in done]
                for i, outcome in sorted(ended, key=lambda one: isinstance(one[1], Exception)):  # results first
                    finish(i, partial(_result, outcome))
        except BaseException:
            for ref in running:
                ray.cancel(ref, force=True)
            raise


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        fix = "Install it: pip install 'avalanche-ckd[ray]'"
        raise ConfigError("runs on a cluster", expected="Ray", received="none installed", fix=fix) from error
    return ray


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """Connected to the cluster in here; the connection is left as it was."""
    mine = not ray.is_initialized()
    if mine:
        try:
            if address and ":" in address:  # Ray tries an address for minutes if nobody is there
                host, _, port = address.removeprefix("ray://").rpartition(":")
                socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
            ray.init(address, log_to_driver=False, logging_level="ERROR")
        except Exception as error:  # whatever the network and Ray's layers raise
            raise ConfigError(
                "Ray cluster",
                expected="one that can be reached from here, with this version of Ray and of Python",
                received=f"{address or 'none'}: {error}",
                fix="Check the address; without one, the cluster of this machine is used, or a new one is started.",
            ) from error
    try:
        yield
    finally:
        if mine:
            ray.shutdown()


def _check_nodes(ray: Any, cluster: RayCluster) -> None:
    """Refuse what no node can ever do: it would wait for ever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    sizes = [(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes]
    if not any(cpus >= cluster.cpus and gpus >= cluster.gpus for cpus, gpus in sizes):
        raise ConfigError(
            "Ray cluster",
            expected=f"a node with {cluster.cpus:g} CPU and {cluster.gpus:g} GPU for a run",
            received=", ".join(f"one with {cpus:g} CPU and {gpus:g} GPU" for cpus, gpus in sizes) or "no node",
            fix="Reserve less with --cpus-per-run and --gpus-per-run, or add a node.",
        )


def _reports_class() -> type:
    """The class of the actor that holds the latest report of each run until it is asked for.

    Ray sends what is defined in a function as it is written, so that the actor need not import ckd and PyTorch.
    """

    class Reports:
        def __init__(self) -> None:
            self.latest: dict[int, tuple[float, int, float]] = {}

        def put(self, i: int, *state: Any) -> None:
            self.latest[i] = state

        def take(self) -> dict[int, tuple[float, int, float]]:
            taken, self.latest = self.latest, {}
            return taken

    return Reports


def _pass_on(ray: Any, reports: Any, news: Any, report: Report) -> Any:
    """Report the news if they are there, and ask for more; the actor may be lost and with it some news."""
    if not ray.wait([news], timeout=0)[0]:
        return news
    with suppress(ray.exceptions.RayError):
        for i, state in ray.get(news).items():
            report(i, *state)
    return reports.take.remote()


def _task(code: str, folder: str) -> Callable[[int, bytes, Any], bytes | str]:
    """What a worker does: task(number of the run, pickled run, actor for reports) -> its pickled result, or text
    that says why the worker cannot do it.

    Ray sends what is defined in a function as it is written, so that a worker without ckd can tell.
    """

    def ckd_run(i: int, act: bytes, reports: Any) -> bytes | str:
        try:
            from ckd.bench.code import CODE as found
        except ImportError as error:
            return f"none that can be imported on {socket.gethostname()} ({error})"
        if found != code:
            return f"other code, {found}, on {socket.gethostname()}"
        from ckd.bench.cluster_worker import work

        return work(i, act, folder, reports)

    return ckd_run


def _outcome(ray: Any, ref: Any) -> Result | Exception:
    """The result of a task that ended, or what went wrong: what the run itself raised is as it is without a cluster."""
    try:
        found = ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        return _caused(error.cause, error)
    except ray.exceptions.RayError as error:
        expected = f"workers that finish their runs, after {RETRIES} retries"
        fix = "If memory was short, use a larger --cpus-per-run, so that fewer runs share a node."
        return _caused(WorkerError("suite", expected=expected, received=error, fix=fix), error)
    if isinstance(found, str):
        expected, fix = f"the code that runs here, {CODE}, on every node", "Install the same version of ckd there."
        return ConfigError("ckd on the Ray cluster", expected=expected, received=found, fix=fix)
    result: Result = pickle.loads(found)
    return result


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def _result(outcome: Result | Exception) -> Result:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
