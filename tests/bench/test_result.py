"""Results as files: what is written is read again, whole or not at all."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest

from ckd.bench import Result, load, plan, save
from ckd.bench.result import provenance, save_diverged
from ckd.errors import DataError
from ckd.evaluation import AccuracyMatrix, Within

ROWS = [[0.9, 0.1, 1 / 3], [0.5, 0.8, 0.0], [0.25, 0.5, 0.75]]


def result(rows=ROWS, initial=(0.1, 0.2, 0.3), recipe="der++", seed=0):
    return Result(
        spec=plan("split-digits", recipe, seed=seed, settings={"alpha": 0.3} if recipe == "der++" else {}),
        matrix=AccuracyMatrix(rows, initial),
        task_matrix=AccuracyMatrix([[0.99] * 3] * len(rows)),
        losses={"criterion": [(45, 1.75), (90, 0.1 + 0.2)]},
        seconds={"training": 1.5, "evaluation": 0.5},
        memory_bytes={"inputs": 1280, "teachers": 0},
        made=provenance(),
        steps=90,
        within=[Within(0, 10, (1 / 3,)), Within(1, 10, (0.1 + 0.2, 0.5))],
    )


@pytest.mark.parametrize(
    "name",
    [
        "spec",
        "seconds",
        "memory_bytes",
        "made",
        "losses",
        "steps",
        "within",
    ],
)
def test_what_is_saved_is_loaded(tmp_path, name):
    again = load(save(result(), tmp_path))
    assert getattr(again, name) == getattr(result(), name)


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1]], ids=["sequence", "joint"])
@pytest.mark.parametrize("initial", [None, (0.1, 0.2, 0.3)])
def test_the_matrix_is_loaded_bit_for_bit(tmp_path, rows, initial):
    again = load(save(result(rows, initial), tmp_path)).matrix
    assert np.array_equal(again.values, np.array(rows))
    if initial is None:
        assert again.initial is None
    else:
        assert np.array_equal(again.initial, np.array(initial))


def test_the_file_tells_a_reader_what_was_found(tmp_path):
    content = json.loads(save(result(), tmp_path).read_text())
    assert content["accuracy_matrix"] == ROWS
    assert content["average_accuracy"] == pytest.approx(0.5)  # mean of the last row
    assert content["forgetting"] == pytest.approx((0.9 - 0.25 + 0.8 - 0.5) / 2)
    assert content["settings"]["alpha"] == 0.3
    assert content["within"] == [[0, 10, [1 / 3]], [1, 10, [0.1 + 0.2, 0.5]]]
    assert {"torch", "avalanche-lib", "avalanche-ckd", "python", "machine"} <= content["made"].keys()


def test_a_newer_format_is_refused(tmp_path):
    file = save(result(), tmp_path)
    content = json.loads(file.read_text())
    assert content["format"] == 2
    file.write_text(json.dumps({**content, "format": 3}))
    with pytest.raises(DataError, match="format 3, newer than 2: a later version of ckd wrote it"):
        load(file)


def test_a_result_from_before_there_were_formats_is_loaded(tmp_path):
    file = save(result(), tmp_path)
    content = json.loads(file.read_text())
    del content["format"], content["steps"], content["within"]
    file.write_text(json.dumps(content))
    assert load(file).matrix.values.tolist() == ROWS
    assert (load(file).steps, list(load(file).within)) == (0, [])


def test_joint_training_has_no_forgetting(tmp_path):
    assert result(ROWS[:1]).forgetting is None
    assert json.loads(save(result(ROWS[:1]), tmp_path).read_text())["forgetting"] is None


def test_the_file_lies_in_the_folder_of_the_spec(tmp_path):
    assert save(result(), tmp_path) == tmp_path / result().spec.folder / "result.json"


def test_nothing_but_the_result_is_left(tmp_path):
    save(result(), tmp_path)
    file = save(result(), tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]


def test_a_run_that_diverges_takes_away_what_an_earlier_one_found(tmp_path):
    file = save(replace(result(), network=b"weights"), tmp_path)
    file.with_name("predictions.npz").touch()
    noted = save_diverged(result().spec, "a loss is NaN", tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [noted]


def test_the_file_can_be_read_by_whom_other_files_can(tmp_path):
    before = os.umask(0o022)
    try:
        mode = save(result(), tmp_path).stat().st_mode & 0o777
    finally:
        os.umask(before)
    assert mode == 0o644


@pytest.fixture
def full_disk(monkeypatch):
    """full_disk() makes the last step of saving fail from then on."""

    def fail(source, target):
        raise OSError("no space left on device")

    return lambda: monkeypatch.setattr(os, "replace", fail)


def test_saving_that_fails_leaves_the_old_result(tmp_path, full_disk):
    file = save(result(), tmp_path)
    before = file.read_bytes()
    full_disk()
    with pytest.raises(DataError, match="no space left"):
        save(result(ROWS[:1]), tmp_path)
    assert file.read_bytes() == before


def test_saving_that_fails_leaves_nothing_half_written(tmp_path, full_disk):
    full_disk()
    with pytest.raises(DataError):
        save(result(), tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_output_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="can be written") as error:
        save(result(), tmp_path / "file" / "out")
    assert "--out" in error.value.fix


def without(name):
    def damage(text):
        return json.dumps({k: v for k, v in json.loads(text).items() if k != name}).encode()

    return damage


def with_matrix(rows):
    def damage(text):
        return json.dumps({**json.loads(text), "accuracy_matrix": rows}).encode()

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: b"",
        lambda text: text[: len(text) // 2].encode(),
        lambda text: b"[1, 2]",
        lambda text: b"null",
        lambda text: b"\xff\xfe",
        without("recipe"),
        without("accuracy_matrix"),
        without("made"),
        with_matrix([[2.0]]),
        with_matrix("none"),
        with_matrix([[0.1, 0.2], [0.3]]),
    ],
    ids=[
        "empty",
        "cut off",
        "a list",
        "null",
        "not text",
        "no recipe",
        "no matrix",
        "no versions",
        "impossible accuracy",
        "matrix of letters",
        "ragged matrix",
    ],
)
def test_a_damaged_file_is_refused_by_its_path(tmp_path, damage):
    file = save(result(), tmp_path)
    file.write_bytes(damage(file.read_text()))
    with pytest.raises(DataError) as error:
        load(file)
    assert str(file) in error.value.what
    assert "--force" in error.value.fix


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError):
        load(tmp_path / "result.json")
