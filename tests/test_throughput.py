"""The throughput benchmark, on digits: the contenders start alike, and the measures measure what they say."""

import importlib
import itertools
import mmap
import types
from pathlib import Path

import pytest
import torch

from ckd.data import tensor_stream

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
MB = 2**20


@pytest.fixture
def script(monkeypatch):
    """script(name) -> that module of benchmarks/."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def contenders(script):
    """contenders(method) -> those that need no download, by name, for two experiences."""
    module = script("contenders")
    digits = module.Problem("permuted-digits", "mlp", 16, rounds=2, stock_steps=0, evaluation_batch=100)

    def make(method):
        setting = module.Setting(digits, method, None, torch.device("cpu"))
        return {name: setting.contender(name) for name in ("plain", "tight", "ckd")}

    return make


@pytest.mark.parametrize("method", ["naive", "er", "lwf", "der++"])
def test_every_contender_is_timed_once_a_round_after_the_first(method, contenders, script):
    found = contenders(method)
    script("throughput").measure(found, rounds=2)
    for contender in found.values():
        assert len(contender.step) == len(contender.evaluation) == 1
        assert min(contender.step + contender.evaluation) > 0


def test_all_start_from_the_same_network_on_the_same_data(contenders):
    found = contenders("naive")
    told = {name: contender.evaluate(1) for name, contender in found.items()}
    assert told["plain"] == told["tight"] == told["ckd"]["accuracy/test/1"]


def test_a_round_is_as_many_steps_as_the_strategy_counts(contenders):
    ckd = contenders("naive")["ckd"]
    ckd.learn(0)
    assert ckd.steps == ckd.strategy.clock.train_iterations == -(-len(tensor_stream("permuted-digits").train[0]) // 16)


def test_the_share_outside_is_what_forward_backward_and_update_leave(script, monkeypatch):
    measures, ticks = script("measures"), itertools.count()
    monkeypatch.setattr(measures.time, "perf_counter", lambda: next(ticks))
    model = torch.nn.Linear(2, 2)
    strategy = types.SimpleNamespace(model=model, plugins=[], backward=lambda: None, optimizer_step=lambda: None)

    def learn(i):  # three intervals of one tick, one tick before each
        strategy.model(torch.zeros(1, 2))
        strategy.backward()
        strategy.optimizer_step()

    contender = script("contenders").Contender(learn, learn, 1, torch.device("cpu"), strategy)
    assert measures.share_outside(contender, 0) == pytest.approx(1 - 3 / 7)


def test_a_teachers_forward_pass_is_inside_and_nothing_is_left_on_the_networks(contenders, script):
    ckd = contenders("lwf")["ckd"]
    ckd.learn(0)
    plugin = ckd.strategy.plugins[0]
    teacher, passes = plugin.objective.teachers["snapshot"].model.module, []
    handle = teacher.register_forward_hook(lambda *_: passes.append(len(teacher._forward_pre_hooks)))
    share = script("measures").share_outside(ckd, 1)
    handle.remove()
    assert passes == [1] * ckd.steps
    assert 0 < share < 1
    for module in (teacher, ckd.strategy.model):
        assert not module._forward_pre_hooks
        assert not module._forward_hooks
    assert not {"backward", "optimizer_step"} & vars(ckd.strategy).keys()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_peak_memory_counts_what_was_freed_again_and_not_what_was_before(script):
    def touch(size):
        with mmap.mmap(-1, size) as pages:
            for i in range(0, size, mmap.PAGESIZE):
                pages[i] = 1

    touch(256 * MB)
    grown = script("measures").peak_growth(lambda: touch(64 * MB), torch.device("cpu"))
    assert 60 < grown < 100


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--device", "nonsense"], "cpu, or cuda where there is one"),
        pytest.param(
            ["--device", "cuda"],
            "Use --device cpu",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
        (["--rounds", "1"], "at least 2"),
    ],
)
def test_what_cannot_be_measured_is_refused(given, said, script, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["throughput.py", *given])
    with pytest.raises(SystemExit):
        script("throughput").arguments()
    assert said in capsys.readouterr().err
