"""The throughput benchmark, on digits: the contenders start alike, and the measures measure what they say."""

import importlib
import io
import itertools
import json
import mmap
import threading
import types
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
MB = 2**20


@pytest.fixture
def script(monkeypatch):
    """script(name) -> that module of benchmarks/."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def digits(script):
    """A problem of two experiences that needs no download."""
    small = {"rounds": 2, "stock_steps": 0, "evaluation_batch": 100, "samples_per_class": 20}
    return script("contenders").Problem("permuted-digits", "mlp", 16, **small)


@pytest.fixture
def contenders(script, digits):
    """contenders(method) -> those that need no download, by name."""

    def make(method):
        setting = script("contenders").Setting(digits, method, None, torch.device("cpu"))
        return {name: setting.contender(name) for name in ("plain", "tight", "engine", "ckd")}

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
    assert ckd.steps == ckd.strategy.clock.train_iterations == -(-10 * 20 // 16)


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


@pytest.fixture
def throughput(script, digits, monkeypatch):
    """throughput(options) -> runs the script on digits, without stock Avalanche; `.module` is the script."""
    module = script("throughput")
    monkeypatch.setitem(module.PROBLEMS, "permuted-mnist", digits)
    monkeypatch.setattr(module, "keep_freed_memory", lambda: None)  # it would hold for the tests that follow
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)

    def run(options):
        monkeypatch.setattr("sys.argv", ["throughput.py", "--no-stock", *options.split()])
        module.main()

    run.module = module
    return run


def interrupt(contender, at):
    """Let Ctrl-C end the learning of experience `at`."""
    learn = contender.learn

    def act(i):
        if i == at:
            raise KeyboardInterrupt
        return learn(i)

    contender.learn = act


@pytest.fixture
def interrupted(throughput, monkeypatch):
    """interrupted(name, at, options) -> runs the script until that contender's experience `at`; the contenders."""
    measure, found = throughput.module.measure, {}

    def run(name, at, options):
        def with_interrupt(contenders, rounds, **settings):
            found.update(contenders)
            interrupt(contenders[name], at)
            measure(contenders, rounds, **settings)

        monkeypatch.setattr(throughput.module, "measure", with_interrupt)
        with pytest.raises(KeyboardInterrupt):
            throughput(options)
        return found

    return run


def test_a_row_is_printed_once_its_method_is_measured(throughput, monkeypatch, capsys):
    measure, printed = throughput.module.measure, []

    def looking(*arguments, **settings):
        printed.append(capsys.readouterr().out.splitlines())
        measure(*arguments, **settings)

    monkeypatch.setattr(throughput.module, "measure", looking)
    throughput("--method naive --method er")
    title, header = printed[0]
    assert title == "permuted-digits, mlp, batch 16"
    (row,), (last,) = printed[1], capsys.readouterr().out.splitlines()
    assert (row.split()[0], last.split()[0]) == ("naive", "er")
    assert len(row.split()) == 1 + 4 + 3 + 1 + 1  # the columns of stock are blank
    for column in ("plain", "tight", "engine / tight", "ckd / tight", "outside", "evaluation: ckd / tight"):
        end = header.index(f" {column}") + len(column) + 1
        assert row[end - 1] != " "
        assert row[end : end + 1] in ("", " ")


def test_what_was_measured_before_an_interrupt_is_printed_and_written(interrupted, capsys, tmp_path):
    file = tmp_path / "figures.json"
    found = interrupted("tight", 2, f"--method lwf --rounds 4 --json {file}")
    row = capsys.readouterr().out.splitlines()[-1].split()
    assert row[:2] == ["lwf", f"{found['plain'].step[0]:.2f}"]
    assert "%" not in "".join(row)
    written = json.loads(file.read_text())["rounds"]["lwf"]
    assert [len(figures["ms a step"]) for figures in written.values()] == [1, 1, 1, 1]  # the first round does not count


def test_an_interrupt_in_the_first_round_prints_no_row_and_writes_nothing(interrupted, capsys, tmp_path):
    interrupted("ckd", 0, f"--method naive --json {tmp_path / 'figures.json'}")
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert not list(tmp_path.iterdir())


def test_peaks_stand_under_their_contenders(throughput, monkeypatch, capsys, tmp_path):
    (tmp_path / "clear_refs").touch()
    monkeypatch.setattr(throughput.module, "PROCESS", tmp_path)
    monkeypatch.setattr(throughput.module, "peak_of", lambda setting, name: len(name))
    throughput("--method naive --memory")
    assert capsys.readouterr().out.splitlines()[-1].split() == ["peak", "MB", "5", "5", "6", "3"]


def test_the_whole_protocol_is_of_the_experiences_that_all_have_finished(throughput, capsys, tmp_path):
    throughput(f"--method naive --protocol --json {tmp_path / 'figures.json'} --rounds 2")
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "naive, permuted-digits, 2 of 2 experiences"
    assert [line.split(":")[0] for line in lines] == ["plain", "tight", "engine", "ckd"]
    assert lines[-1].endswith("ckd / ckd: 1.00")
    written = json.loads((tmp_path / "figures.json").read_text())["rounds"]["naive"]
    assert [len(times["s an experience"]) for times in written.values()] == [2, 2, 2, 2]


def test_an_interrupted_protocol_says_how_far_it_came(throughput, script, digits, contenders, capsys):
    setting = script("contenders").Setting(digits, "naive", None, torch.device("cpu"))
    found, figures = contenders("naive"), {}
    interrupt(found["ckd"], at=1)
    with pytest.raises(KeyboardInterrupt):
        throughput.module.whole_protocol(setting, found, figures, throughput.module.Console(), lambda what: None)
    assert capsys.readouterr().out.startswith("naive, permuted-digits, 1 of 2 experiences\nplain: ")
    assert [len(times["s an experience"]) for times in figures.values()] == [1, 1, 1, 1]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_sees_who_is_measured_and_a_file_does_not(terminal, throughput, contenders):
    module, file, threads = throughput.module, io.StringIO(), threading.active_count()
    console = module.Console(file=file, force_terminal=terminal, width=100)
    with module.progress(console, 8) as tell:
        module.measure(contenders("naive"), 2, tell=lambda what: tell("naive", what))
        assert threading.active_count() == threads  # one that drew would slow down what is timed
        module.print_row(console, "naive", ["1.00"])
    written = file.getvalue()
    for i in (1, 2):
        assert all(
            (f"naive: {name}, round {i} of 2" in written) is terminal for name in ("plain", "tight", "engine", "ckd")
        )
    assert ("8/8" in written) is terminal
    assert "naive       1.00\n" in written
    assert terminal or written == "naive       1.00\n"


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
