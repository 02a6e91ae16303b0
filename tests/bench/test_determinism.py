"""Two runs are the same bit for bit, whatever the threads; what else changes nothing is tested where it is."""

import random

import numpy as np
import pytest
import torch

from ckd.bench import plan, run
from ckd.bench.determinism import deterministic
from ckd.cli import main
from ckd.errors import ConfigError

WIDE = {"n_experiences": 2, "epochs": 1, "samples_per_class": 60, "batch_size": 128, "memory_size": 100}
CPU = torch.device("cpu")


def numbers(result):
    """What a run found, without seconds."""
    arrays = {name: value.tobytes() for name, value in vars(result.predictions).items()}
    matrices = result.matrix.to_json(), result.task_matrix.to_json()
    return matrices, result.losses, result.steps, result.memory_bytes, result.network, arrays


@pytest.fixture
def threads():
    """threads(n): so many from now on."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("recipe", ["der++", "tether", "mean-er", "ewc"])
def test_a_run_is_the_same_whatever_the_threads(threads, recipe):
    spec = plan("split-digits", recipe, seed=0, **WIDE)
    found = []
    for n in (1, 2):
        threads(n)
        found.append(numbers(run(spec, keep_network=True, deterministic=True)))
        assert torch.get_num_threads() == n
    assert found[0] == found[1]


def test_a_command_computes_in_one_thread(threads, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr("ckd.bench.run_suite", lambda *_, **given: seen.append((torch.get_num_threads(), given)))
    threads(2)
    assert main(["run", "split-digits", "--recipe", "er", "--deterministic", "--out", str(tmp_path)]) == 0
    ((n, given),) = seen
    assert n == 1
    assert given["deterministic"] is True


def state():
    cudnn = torch.backends.cudnn.benchmark
    return torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), cudnn, random.getstate()


def drawn():
    return random.random(), np.random.random()  # noqa: NPY002 - the global one


def test_everything_is_afterwards_as_it_was(threads):
    threads(2)
    before = state()
    with deterministic(True, 3, CPU):
        assert state()[:2] == (1, True)
        first = drawn()
    assert state() == before
    with deterministic(True, 3, CPU):
        assert drawn() == first
    with deterministic(False, 3, CPU):
        assert state() == before


def test_an_operation_without_a_deterministic_algorithm_is_explained():
    with (
        pytest.raises(ConfigError, match="Leave --deterministic out"),
        deterministic(True, 0, CPU),
    ):
        raise RuntimeError("put_ does not have a deterministic implementation")
    with pytest.raises(RuntimeError, match="another"), deterministic(True, 0, CPU):
        raise RuntimeError("another")
