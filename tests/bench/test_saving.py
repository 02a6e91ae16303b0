"""A run of the command that is ended goes on when it is called again, and finds the same numbers."""

import json
import signal
from contextlib import suppress

import pytest
from rich.console import Console

import ckd.bench.saving
import ckd.bench.training
from ckd.bench import plan, run, run_suite
from ckd.bench.saving import FOLDER, Saving
from ckd.checkpoint import CheckpointError
from ckd.cli import main
from ckd.data import tensor_stream
from ckd.plugins import Checkpoint, StepCounter
from ckd.signals import Interrupted, handling, raise_interrupted

TINY = {"n_experiences": 5, "epochs": 2, "samples_per_class": 10, "batch_size": 10, "evaluate_every": 3}
SPEC = plan("split-digits", "der++", seed=0, memory_size=20, momentum=0.5, lr_end=0.5, **TINY)
QUIET = Console(quiet=True)


class Killed(BaseException):
    pass


@pytest.fixture
def at_step(monkeypatch):
    """at_step(n, act) -> acts at the n-th step from now on, before its end."""

    def make(n, act):
        hook, left = Checkpoint.after_training_iteration, [n]

        def counted(self, strategy, **given):
            left[0] -= 1
            if not left[0]:
                act()
            hook(self, strategy, **given)

        monkeypatch.setattr(Checkpoint, "after_training_iteration", counted)

    return make


def killed():
    raise Killed


def numbers(result):
    """What a run found, without seconds."""
    arrays = {name: value.tobytes() for name, value in vars(result.predictions).items()}
    matrices = result.matrix.to_json(), result.task_matrix.to_json()
    return matrices, result.losses, result.within, result.steps, result.memory_bytes, result.network, arrays


@pytest.mark.parametrize("recipe", ["der++", "joint"])
def test_a_killed_run_finds_the_same(tmp_path, at_step, recipe):
    spec = plan("split-digits", recipe, seed=0, memory_size=20, momentum=0.5, **TINY)
    wanted = run(spec, keep_network=True)
    for n in (5, 7):
        at_step(n, killed)
        with pytest.raises(Killed):
            run(spec, keep_network=True, saving=Saving(tmp_path, 2))
    found = run(spec, keep_network=True, saving=Saving(tmp_path, 2))
    assert numbers(found) == numbers(wanted)
    assert len(list(tmp_path.rglob("checkpoint-*"))) == 2


def lines(folder):
    (file,) = folder.rglob("metrics.csv")
    return sorted(file.read_text().splitlines())


def test_a_suite_goes_on_by_itself_and_tells_trackers_all(tmp_path, at_step, monkeypatch, pictures):
    def suite(out):
        return run_suite([SPEC], tmp_path / out, track=["csv"], console=QUIET, checkpoint_every=2)

    suite("undisturbed")
    at_step(13, killed)
    with pytest.raises(Killed):
        suite("killed")
    assert list(tmp_path.rglob("checkpoint-*"))
    suite("killed")
    assert lines(tmp_path / "killed") == lines(tmp_path / "undisturbed")
    assert not list(tmp_path.rglob(f"{FOLDER}*"))


COMMAND = ["run", "split-digits", "--recipe", "er", "--experiences", "5", "--samples-per-class", "10"]


def found_in(out):
    (file,) = out.rglob("result.json")
    found = json.loads(file.read_text())
    return {name: value for name, value in found.items() if name not in ("seconds", "made")}


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_then_stops_and_the_command_goes_on(tmp_path, at_step, capsys, signum, status, pictures):
    before = signal.getsignal(signum)
    at_step(3, lambda: signal.raise_signal(signum))
    command = [*COMMAND, "--out", str(tmp_path)]
    assert main(command) == status
    said = capsys.readouterr().err
    assert "saving, then stopping" in said
    assert "the run under way goes on when this is called again" in said
    steps = []
    at_step(1, lambda: steps.append("some"))
    assert main(command) == 0
    assert steps
    assert "split-digits/er-200/seed0 goes on after 3 steps" in capsys.readouterr().err
    assert found_in(tmp_path)["steps"] > 3
    assert not list(tmp_path.rglob(f"{FOLDER}*"))
    assert signal.getsignal(signum) is before


def test_a_second_signal_stops_at_once(tmp_path, at_step, capsys):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    at_step(3, twice)
    assert main([*COMMAND, "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err.endswith("ckd: interrupted; finished runs are kept\n")


def test_an_interrupt_that_a_callback_swallowed_ends_the_next_step(tmp_path, monkeypatch, pictures):
    """As Python does with what is raised in a callback of C: it is printed as ignored."""
    hook, steps = StepCounter.after_training_iteration, []

    def act(self, strategy, **given):
        hook(self, strategy, **given)
        steps.append(1)
        if len(steps) == 3:
            with suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(StepCounter, "after_training_iteration", act)
    with pytest.raises(Interrupted):
        run_suite([SPEC], tmp_path, console=QUIET, checkpoint_every=None)
    assert len(steps) == 3
    (result,) = run_suite([SPEC], tmp_path, console=QUIET)  # it is not remembered
    assert result.steps == 20


def test_an_interrupt_after_the_last_checkpoint_begins_no_other_run(tmp_path, monkeypatch, pictures):
    train, others = ckd.bench.training._train, [plan("split-digits", "naive", seed=s, **TINY) for s in range(2)]

    def act(*given):
        result = train(*given)
        signal.raise_signal(signal.SIGTERM)
        return result

    monkeypatch.setattr(ckd.bench.training, "_train", act)
    with pytest.raises(Interrupted):
        run_suite(others, tmp_path, console=QUIET)
    assert len(list(tmp_path.rglob("result.json"))) == 1


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with handling(raise_interrupted, signal.SIGINT):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_checkpoints_of_other_code_are_refused_taken_up_or_dropped(tmp_path, at_step, monkeypatch, pictures):
    def suite(**given):
        return run_suite([SPEC], tmp_path, console=QUIET, checkpoint_every=2, **given)

    at_step(13, killed)
    with pytest.raises(Killed):
        suite()
    monkeypatch.setattr(ckd.bench.saving, "CODE", "other")
    with pytest.raises(CheckpointError, match=r'whose code is ".*" and not "other".*--force starts again'):
        suite()
    seen = []
    at_step(1, lambda: seen.append(1))
    suite(keep=True)
    assert seen


def test_forced_it_starts_again(tmp_path, at_step, monkeypatch, pictures):
    at_step(13, killed)
    with pytest.raises(Killed):
        run_suite([SPEC], tmp_path, console=QUIET, checkpoint_every=2)
    monkeypatch.setattr(ckd.bench.saving, "CODE", "other")
    (result,) = run_suite([SPEC], tmp_path, console=QUIET, force=True)
    assert result.steps == 20


def test_data_that_changed_are_another_run():
    one, other = (tensor_stream("split-digits", samples_per_class=5) for _ in range(2))
    assert ckd.bench.saving._digest(one) == ckd.bench.saving._digest(other)
    other.train[0].base.flatten()[0] += 1
    assert ckd.bench.saving._digest(one) != ckd.bench.saving._digest(other)


def test_none_are_written_where_none_are_wanted(tmp_path, monkeypatch, pictures):
    monkeypatch.setattr(Checkpoint, "__init__", None)
    run_suite([SPEC], tmp_path, console=QUIET, checkpoint_every=None)
