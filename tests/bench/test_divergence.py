"""A run whose loss or weights are NaN: named, never saved in that state, and the others go on or are stopped."""

import json
import sys

import pytest
from rich.console import Console

from ckd.bench import Range, load, plan, run, run_suite, tune
from ckd.bench.diverged import DivergedError
from ckd.checkpoint import Checkpoints
from ckd.cli import main
from ckd.errors import ConfigError, NonFiniteLossError
from ckd.plugins import Checkpoint

TINY = {"n_experiences": 2, "epochs": 1, "samples_per_class": 20}
BAD, GOOD = (plan("split-digits", "naive", seed=0, lr=lr, **TINY) for lr in (1e30, 0.1))
LONG = plan("split-digits", "naive", seed=1, **{**TINY, "epochs": 100_000})
"""A run that no test waits for."""
QUIET = Console(quiet=True)


def results(folder):
    return [load(file).spec for file in folder.rglob("result.json")]


def test_stop_begins_no_other_run(tmp_path, pictures):
    with pytest.raises(DivergedError, match=r"naive, seed 0: loss 'criterion' at iteration \d+ in experience \d"):
        run_suite([BAD, LONG], tmp_path, on_divergence="stop", console=QUIET)
    assert not results(tmp_path)
    (file,) = tmp_path.rglob("diverged.json")
    assert "in experience" in json.loads(file.read_text())["diverged"]


def test_skip_marks_it_in_the_table_and_goes_on(tmp_path, pictures):
    with (tmp_path / "shown").open("w") as shown, pytest.raises(DivergedError, match="Lower --lr"):
        run_suite([BAD, GOOD], tmp_path, console=Console(file=shown, width=200))
    assert results(tmp_path) == [GOOD]
    rows = [line.split() for line in (tmp_path / "shown").read_text().splitlines()]
    assert ["naive,", "seed", "0", "-", "diverged"] in rows


SUITE = """
from ckd.bench import Suite

protocol = {"n_experiences": 2, "epochs": 1, "samples_per_class": 20}
settings = {"der": {"alpha": 1e38}}
suite = Suite("Digits", ["split-digits"], ["naive", "der"], [20], range(1), settings=settings, protocol=protocol)
"""


def test_the_page_of_a_suite_is_written_all_the_same(tmp_path, pictures, monkeypatch, capsys):
    written = []
    monkeypatch.setattr("ckd.cli.actions._page", lambda folders, out: written.append(out.name))
    (tmp_path / "suite.py").write_text(SUITE)
    command = ["bench", str(tmp_path / "suite.py"), "--out", str(tmp_path / "out")]
    assert main(command) == 2
    assert "der, memory 20, seed 0: loss" in capsys.readouterr().err
    assert main([*command, "--on-divergence", "stop"]) == 2
    assert written == ["report.html"]


def test_what_is_no_choice_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="on divergence: expected skip or stop; received 'go on'"):
        run_suite([GOOD], tmp_path, on_divergence="go on", console=QUIET)


@pytest.fixture
def ruined_at(monkeypatch):
    """ruined_at(n): the n-th update of this process makes a weight infinite."""

    def make(n):
        hook, left = Checkpoint.after_training_iteration, [n]

        def act(self, strategy, **given):
            left[0] -= 1
            if not left[0]:
                next(strategy.model.parameters()).data.flatten()[0] = float("inf")
            hook(self, strategy, **given)

        monkeypatch.setattr(Checkpoint, "after_training_iteration", act)

    return make


def weights(folder):
    """Of the newest checkpoint."""
    (folder,) = folder.rglob("checkpoints")
    files = Checkpoints(folder)
    return files.read(files.names()[-1]).state()["model"]["tensors"]


@pytest.mark.parametrize(("at", "said"), [(5, "loss 'criterion' at iteration 5"), (6, "weight '.*' after 6 steps")])
def test_the_last_good_checkpoint_stays(tmp_path, pictures, ruined_at, at, said):
    ruined_at(at)
    with pytest.raises(DivergedError, match=f"{said},? in experience 1"):
        run_suite([GOOD], tmp_path, checkpoint_every=2, console=QUIET)
    assert all(value.isfinite().all() for value in weights(tmp_path).values() if value.is_floating_point())
    ruined_at(10**9)
    (found,) = run_suite([GOOD], tmp_path, checkpoint_every=2, console=QUIET)
    assert found.matrix.to_json() == run(GOOD).matrix.to_json()
    assert not list(tmp_path.rglob("diverged.json"))


COMMAND = ["run", "split-digits", "--recipe", "naive", "--experiences", "2", "--epochs", "1", "--lr", "1e30"]


@pytest.mark.parametrize("choice", ["skip", "stop"])
def test_the_status_is_2(tmp_path, capsys, choice):
    command = [*COMMAND, "--seeds", "2", "--on-divergence", choice, "--out", str(tmp_path)]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert [f"seed {seed}: " in said for seed in (0, 1)] == [True, choice == "skip"]


@pytest.mark.parametrize("choice", ["skip", "stop"])
def test_a_trial_that_diverges_counts_as_nothing_or_ends_the_search(tmp_path, monkeypatch, choice):
    rates = []

    def diverge_at_first(spec, **_):
        rates.append(spec.lr)
        if len(rates) == 1:
            raise NonFiniteLossError("loss 'kd'", expected="a finite number", received="NaN", fix="Lower the rate.")
        return run(spec)

    monkeypatch.setattr(sys.modules["ckd.bench.tuning"], "run", diverge_at_first)

    def act():
        with (tmp_path / "shown").open("w") as shown:
            console = Console(file=shown, width=200)
            given = {"trials": 2, "console": console, "on_divergence": choice, **TINY}
            return tune("split-digits", "naive", {"lr": Range(0.1, 0.3)}, tmp_path, **given)

    if choice == "stop":
        with pytest.raises(NonFiniteLossError, match="loss 'kd'"):
            act()
        return
    assert act() == {"lr": rates[1]}
    assert f"trial 0: diverged  (lr {rates[0]:.4g})" in (tmp_path / "shown").read_text()
    *_, worst = json.loads((tmp_path / "study.json").read_text())["trials"]
    assert worst["accuracy"] == 0
    assert "loss 'kd'" in worst["diverged"]
