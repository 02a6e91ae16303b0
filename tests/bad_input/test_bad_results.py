"""A table of result files that hold something else: `ckd run` refuses to use them, `ckd report` leaves them out."""

import json

import numpy as np
import pytest
from commands import RUN

from ckd.bench import Result, plan, save
from ckd.bench.result import provenance
from ckd.cli import main
from ckd.evaluation import AccuracyMatrix

SPEC = plan("split-digits", "er", seed=0, n_experiences=2, epochs=1, samples_per_class=20)


@pytest.fixture
def result(tmp_path):
    """The file of the result of `commands.RUN`."""
    matrix = AccuracyMatrix([[0.9, 0.1], [0.5, 0.8]], [0.1, 0.2])
    losses, seconds = {"criterion": [(45, 1.75)]}, {"training": 1.5, "evaluation": 0.5}
    return save(Result(SPEC, matrix, matrix, losses, seconds, {"inputs": 1280}, provenance()), tmp_path / "out")


def other(**changes):
    """The content with other values; None leaves a name out."""

    def act(text):
        content = {**json.loads(text), **changes}
        return json.dumps({name: value for name, value in content.items() if value is not ...}).encode()

    return act


MATRIX = "accuracy_matrix"
DAMAGE = {
    "empty": (lambda text: b"", "result.json"),
    "cut off": (lambda text: text[:100].encode(), "result.json"),
    "no text": (lambda text: b"\xff\xfe\0", "result.json"),
    "a list": (lambda text: b"[]", "result.json"),
    "null": (lambda text: b"null", "result.json"),
    "a number": (lambda text: b"3", "result.json"),
    "deep": (lambda text: b"[" * 100_000 + b"]" * 100_000, "RecursionError"),
    "deep within": (lambda text: b'{"spec": ' * 100_000 + b"1" + b"}" * 100_000, "RecursionError"),
    "a number of 5,000 digits": (lambda text: b'{"seed": ' + b"9" * 5000 + b"}", "result.json"),
    "a newer format": (other(format=99), "a later version of ckd wrote it"),
    "a format of letters": (other(format="2"), "TypeError"),
    "no recipe": (other(recipe=...), "recipe"),
    "no matrix": (other(accuracy_matrix=...), MATRIX),
    "no versions": (other(made=...), "made"),
    "a seed of letters": (other(seed="0"), "seed is no int"),
    "a seed of truth": (other(seed=True), "seed is no int"),
    "a seed of 0.5": (other(seed=0.5), "seed is no int"),
    "a recipe of numbers": (other(recipe=3), "recipe is no str"),
    "a memory of letters": (other(memory_size="many"), "memory_size is no int"),
    "a rate of letters": (other(lr="0.1"), "lr is no float"),
    "settings in a list": (other(settings=[1]), "settings is no dict"),
    "teachers of numbers": (other(teachers=[3]), "result.json"),
    "teachers of nothing": (other(teachers={"a": 1}), "teachers is no"),
    "seconds in a number": (other(seconds=3.0), "seconds is no dict"),
    "seconds of letters": (other(seconds={"training": "1"}), "seconds is no dict"),
    "bytes in a list": (other(memory_bytes=[1]), "memory_bytes is no dict"),
    "versions of numbers": (other(made={"torch": 2}), "made is no dict"),
    "losses in a list": (other(losses=[1]), "result.json"),
    "losses at infinity": (other(losses={"criterion": [[1e400, 1.0]]}), "OverflowError"),
    "steps of letters": (other(steps="many"), "result.json"),
    "evaluations within of numbers": (other(within=[1]), "result.json"),
    "a matrix of letters": (other(accuracy_matrix="none"), "result.json"),
    "a ragged matrix": (other(accuracy_matrix=[[0.1, 0.2], [0.3]]), "result.json"),
    "a matrix of nothing": (other(accuracy_matrix=[]), "accuracy matrix"),
    "an accuracy of 2": (other(accuracy_matrix=[[2.0, 0.1], [0.1, 0.1]]), "accuracy matrix"),
    "an accuracy of NaN": (other(accuracy_matrix=[[0.5, 0.1], [np.nan, 0.1]]), "without an accuracy at the end"),
    "accuracies of null": (other(task_accuracy_matrix=[[None] * 2] * 2), "without an accuracy at the end"),
    "a matrix of three experiences": (other(accuracy_matrix=[[0.5] * 3] * 3, initial_accuracy=None), "3 experiences"),
    "another seed": (other(seed=7), "split-digits/er-200"),
    "another rate": (other(lr=7.0), "with these settings"),
    "another recipe": (other(recipe="naive"), "one of split-digits/naive"),
    "other data": (other(data="12345678"), "with these settings and data"),
    "another benchmark": (other(benchmark="permuted-digits"), "one of permuted-digits"),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_result_that_is_none_is_not_used(refused, result, damage, said):
    result.write_bytes(damage(result.read_text()))
    refused(RUN, said)


OF_THE_FILE_ALONE = [name for name in DAMAGE if not name.startswith(("another", "other", "a matrix of three"))]


@pytest.mark.parametrize("name", OF_THE_FILE_ALONE)
def test_a_report_leaves_it_out_and_says_so(result, tmp_path, capsys, monkeypatch, name):
    monkeypatch.setattr("ckd.report.write.page", lambda *_, **__: "")
    whole = result.read_text()
    second = tmp_path / "out" / "other" / "result.json"
    second.parent.mkdir()
    second.write_bytes(DAMAGE[name][0](whole))
    assert main(["report", str(tmp_path / "out"), "--out", str(tmp_path / "page.html")]) == 0
    assert f"left out: {second}" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"[" * 100_000, b'{"diverged": ' * 50_000, b"\xff"])
@pytest.mark.parametrize("name", ["diverged.json", "suite.json", "predictions.npz"])
def test_files_beside_it_that_are_none_lose_nothing(result, tmp_path, monkeypatch, content, name):
    monkeypatch.setattr("ckd.report.write.page", lambda *_, **__: "")
    result.with_name(name).write_bytes(content)
    assert main(["report", str(tmp_path / "out"), "--out", str(tmp_path / "page.html")]) == 0


def test_a_picture_that_cannot_be_written_loses_no_table(result, tmp_path, capsys, monkeypatch):
    (tmp_path / "out" / "forgetting.png").mkdir()
    assert main([*RUN, "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "65.00" in out
    assert "forgetting.png cannot be written: " in out


def test_a_page_that_cannot_be_written_is_explained(result, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ckd.report.write.page", lambda *_, **__: "")
    assert main(["report", str(tmp_path / "out"), "--out", str(tmp_path / "out")]) == 2
    assert "a folder that can be written" in capsys.readouterr().err


def test_the_file_as_it_was_written_is_used(result, tmp_path, monkeypatch):
    monkeypatch.setattr("ckd.bench.training._train", lambda *_, **__: pytest.fail("trained"))
    monkeypatch.setattr("ckd.bench.suite.plot_forgetting", lambda *_, **__: None)
    assert main([*RUN, "--out", str(tmp_path / "out")]) == 0
