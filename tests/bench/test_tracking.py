"""Trackers: what they are told is what the run found, and no number of the run changes."""

import csv
import importlib.util
import pickle
from dataclasses import asdict

import pytest

from ckd.bench import plan, run
from ckd.bench.tracking import Tracking
from ckd.cli import main
from ckd.errors import ConfigError, DataError, NonFiniteLossError, UnknownNameError

SETTINGS = {"n_experiences": 2, "epochs": 2, "memory_size": 20, "samples_per_class": 20}
SPEC = plan("split-digits", "er", seed=0, evaluate_every=6, **SETTINGS)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard.*")


@pytest.fixture
def offline(monkeypatch):
    """wandb, offline and quiet: the runs that it was asked for, each with its summary as it was in the end."""
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    runs, init = [], wandb.init

    def watched(**given):
        started = init(**given)
        finish = started.finish

        def finished():
            runs.append((started, dict(started.summary)))
            finish()

        started.finish = finished
        return started

    monkeypatch.setattr(wandb, "init", watched)
    return runs


def rows(file):
    with file.open(newline="") as opened:
        return list(csv.reader(opened))


def expected(result):
    """Every number of a run by (step, name), from its result."""
    found = {(step, f"loss/{name}"): value for name, curve in result.losses.items() for step, value in curve}
    ends = [0, *(step for step, _ in result.losses["criterion"][1::2])]  # two epochs an experience
    for n, (step, row) in enumerate(zip(ends, [result.matrix.initial, *result.matrix.values], strict=True)):
        found |= {(step, f"accuracy/experience_{j + 1}"): value for j, value in enumerate(row)}
        found |= {(step, "accuracy/average"): row[:n].mean()} if n else {}
    for n, step, row in result.within:
        found |= {(ends[n] + step, f"accuracy/experience_{j + 1}"): value for j, value in enumerate(row)}
        found[ends[n] + step, "accuracy/average"] = sum(row) / len(row)
    found[ends[-1], "final/average_accuracy"] = result.matrix.average_accuracy()
    found[ends[-1], "final/task_average_accuracy"] = result.task_matrix.average_accuracy()
    found[ends[-1], "final/forgetting"] = result.matrix.forgetting()
    return found


def test_no_number_of_the_run_changes(tmp_path, offline):
    plain, tracked = run(SPEC), run(SPEC, tracking=Tracking(("csv", "tensorboard", "wandb"), tmp_path))
    assert tracked.losses == plain.losses
    assert tracked.within == plain.within
    assert tracked.matrix.to_json() == plain.matrix.to_json()
    assert len(offline) == 1


def test_csv_files_hold_every_number(tmp_path):
    result = run(SPEC, tracking=Tracking(("csv",), tmp_path))
    folder = tmp_path / SPEC.folder / "csv"
    head, *metrics = rows(folder / "metrics.csv")
    assert head == ["step", "name", "value"]
    assert {(int(step), name): float(value) for step, name, value in metrics} == pytest.approx(expected(result))
    assert [int(step) for step, _, _ in metrics] == sorted(int(step) for step, _, _ in metrics)
    settings = dict(rows(folder / "settings.csv"))
    assert (settings["recipe"], settings["lr"], settings["settings.memory_batch_size"]) == ("er", "0.1", "")
    assert settings.keys() - {"name", "settings.memory_batch_size"} == asdict(SPEC).keys() - {"settings"}
    matrix = [["trained", "experience_1", "experience_2"], [0, *result.matrix.initial]]
    matrix += [[n + 1, *row] for n, row in enumerate(result.matrix.values)]
    assert rows(folder / "accuracy_matrix.csv") == [[str(value) for value in row] for row in matrix]


def test_tensorboard_holds_every_number(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="no tensorboard")
    for _ in range(2):  # a run that is made again takes the place of the first
        result = run(SPEC, tracking=Tracking(("tensorboard",), tmp_path))
    found = reader.EventAccumulator(str(tmp_path / SPEC.folder / "tensorboard"))
    found.Reload()
    scalars = [(e.step, tag, e.value) for tag in found.Tags()["scalars"] for e in found.Scalars(tag)]
    assert {(step, tag): value for step, tag, value in scalars} == pytest.approx(expected(result), rel=1e-6)
    assert len(scalars) == len(expected(result))
    text = found.Tensors("accuracy_matrix/text_summary")[0].tensor_proto.string_val[0].decode()
    assert f"| 2 | {result.matrix.values[1, 0]:.4f} | {result.matrix.values[1, 1]:.4f} |" in text
    begun = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"memory_size" in begun
    assert b"recipe" in begun
    assert "_hparams_/session_end_info" in found.summary_metadata


def test_wandb_holds_settings_and_numbers(tmp_path, offline, capsys):
    result = run(SPEC, tracking=Tracking(("wandb",), tmp_path))
    ((found, summary),) = offline
    assert found.offline
    assert (found.config["recipe"], found.config["settings.memory_batch_size"]) == ("er", None)
    last = {name: value for (_, name), value in sorted(expected(result).items())}
    assert {name: summary[name] for name in last} == pytest.approx(last)
    assert summary["accuracy_matrix"]["nrows"] == 3
    assert len(list((tmp_path / SPEC.folder / "wandb").glob("offline-run-*/*.wandb"))) == 1
    assert capsys.readouterr() == ("", "")


def test_a_wandb_run_that_cannot_start_is_explained(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")

    def refuse(**given):
        raise wandb.Error(f"no login for mode {given['mode']}")

    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(ConfigError, match="no login for mode online"):
        run(SPEC, tracking=Tracking(("wandb",), tmp_path))


def test_the_command_tracks_each_run_beside_its_result(tmp_path):
    more = ("--experiences", "2", "--epochs", "1", "--samples-per-class", "20", "--out", str(tmp_path))
    assert main(["run", "split-digits", "--recipe", "naive", "--recipe", "joint", "--track", "csv", *more]) == 0
    results = sorted(file.parent for file in tmp_path.rglob("result.json"))
    assert sorted(file.parent.parent for file in tmp_path.rglob("accuracy_matrix.csv")) == results
    joint = next(folder for folder in results if folder.parent.name.startswith("joint"))
    assert [row[0] for row in rows(joint / "csv" / "accuracy_matrix.csv")] == ["trained", "0", "2"]
    assert not any("forgetting" in name for _, name, _ in rows(joint / "csv" / "metrics.csv"))


def test_what_is_tracked_reaches_workers(tmp_path):
    tracking = Tracking(("csv", "tensorboard"), tmp_path)
    assert pickle.loads(pickle.dumps(tracking)) == tracking


def test_a_run_that_diverges_keeps_what_it_was(tmp_path):
    spec = plan("split-digits", "er", seed=0, lr=1e30, **SETTINGS)
    with pytest.raises(NonFiniteLossError):
        run(spec, tracking=Tracking(("csv", "tensorboard"), tmp_path))
    folder = tmp_path / spec.folder / "csv"
    assert {step for step, _, _ in rows(folder / "metrics.csv")} == {"step", "0"}
    assert not (folder / "accuracy_matrix.csv").exists()


def test_a_tracker_that_does_not_exist_or_is_not_installed_is_refused(tmp_path, monkeypatch, capsys):
    with pytest.raises(UnknownNameError, match="'tensorboard'"):
        Tracking(("tensorbord",), tmp_path)
    monkeypatch.setattr("ckd.bench.tracking.find_spec", lambda name: None if name == "wandb" else importlib.util)
    with pytest.raises(ConfigError, match="pip install wandb"):
        Tracking(("csv", "wandb"), tmp_path)
    assert main(["run", "split-digits", "--recipe", "er", "--track", "wandb", "--out", str(tmp_path)]) == 2
    assert "pip install wandb" in capsys.readouterr().err
    assert not list(tmp_path.rglob("csv"))


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "split-digits").touch()
    with pytest.raises(DataError, match="--out"):
        run(SPEC, tracking=Tracking(("csv",), tmp_path))
