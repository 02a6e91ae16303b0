"""`ckd report` on what people have: one run, missing seeds, diverged runs, other versions, 40 methods, rubbish."""

import json
import re
import shutil

import pytest

from ckd import cli
from ckd.bench.planning import plan
from ckd.bench.result import save_diverged
from ckd.errors import ConfigError, DataError, UnknownNameError
from ckd.report import write_report


def page(folder, tmp_path, **given):
    file = tmp_path / "report.html"
    results = write_report([folder], file, **given)
    return results, file.read_text()


def keep(folder, *names):
    """Leave only these runs in the folder."""
    for file in list(folder.rglob("result.json")):
        if not any(str(file.parent).endswith(name) or name in file.parent.parent.name for name in names):
            shutil.rmtree(file.parent)


def test_one_run(folder, tmp_path):
    keep(folder, "nothing")
    with pytest.raises(DataError, match="Run `ckd run` first"):
        page(folder, tmp_path)


@pytest.mark.parametrize("names", [("er-50",), ("joint",), ("naive", "joint")])
def test_few_methods(folder, tmp_path, names):
    keep(folder, *names)
    results, text = page(folder, tmp_path)
    assert len(results.found) == 2 * len(names)
    assert "Accuracy" in text


def test_one_seed(folder, tmp_path):
    for file in list(folder.rglob("seed1")):
        shutil.rmtree(file)
    _, text = page(folder, tmp_path)
    assert "No test" in text
    assert "nan" not in re.sub(r"<script.*?</script>", "", text, flags=re.S).lower()


def test_missing_seeds(folder, tmp_path, result_files):
    shutil.rmtree(result_files(folder, "er")[1].parent)
    results, text = page(folder, tmp_path)
    assert len(results.found) == 5
    assert "too few seeds in common to say" in text


def test_diverged_runs_are_named(folder, tmp_path):
    spec = plan("split-digits", "ewc", seed=0, lr=100.0)
    save_diverged(spec, "the loss is not finite at step 12", folder)
    results, text = page(folder, tmp_path)
    assert "the loss is not finite at step 12" in text
    assert len(results.found) == 6


def test_forty_methods(folder, tmp_path, result_files):
    file = result_files(folder, "er")[0]
    content = json.loads(file.read_text())
    for k in range(40):
        other = folder / "more" / f"er-{k}" / "seed0"
        other.mkdir(parents=True)
        (other / "result.json").write_text(json.dumps({**content, "lr": 0.01 * (k + 1)}))
    results, text = page(folder, tmp_path)
    assert len({run.method for run in results.found}) >= 42
    assert "more can be shown" in text


def test_other_versions_merge_and_what_cannot_be_read_is_named(folder, tmp_path, result_files):
    one, other = result_files(folder, "er")
    content = json.loads(one.read_text())
    old = {name: value for name, value in content.items() if name not in ("format", "steps", "passes", "code")}
    one.write_text(json.dumps(old))
    other.write_text(json.dumps({**content, "seed": 1, "format": 3}))
    results, text = page(folder, tmp_path)
    assert len(results.found) == 5
    assert "format 3, newer than 2" in text


def test_tables_and_figures_are_written(folder, tmp_path):
    write_report([folder], None, tables=tmp_path / "t", figures=tmp_path / "f")
    assert {file.suffix for file in (tmp_path / "t").iterdir()} == {".csv", ".md", ".tex"}
    pictures = list((tmp_path / "f").iterdir())
    assert len([file for file in pictures if file.suffix == ".png"]) >= 7
    assert all(file.read_bytes()[:4] == b"\x89PNG" for file in pictures if file.suffix == ".png")
    assert all(b"<svg" in file.read_bytes() for file in pictures if file.suffix == ".svg")


def test_only_some_methods_against_one(folder, tmp_path):
    results, text = page(folder, tmp_path, only=["er", "na*"], against="naive")
    assert {run.method for run in results.found} == {"er", "naive"}
    assert "against naive" in text
    for wrong in ({"only": ["era"]}, {"against": "era"}):
        with pytest.raises(UnknownNameError, match="Did you mean 'er'"):
            page(folder, tmp_path, **wrong)


def test_no_method_is_tested_against_a_reference(folder, tmp_path):
    with pytest.raises(ConfigError, match="joint, which sees all data"):
        page(folder, tmp_path, against="joint")


def test_published_numbers_of_the_suite_are_beside_ours(folder, tmp_path):
    suite = {"title": "Digits", "benchmarks": ["split-digits"], "published": [["er", 50, 71.25]]}
    (folder / "suite.json").write_text(json.dumps({**suite, "source": "Someone 2020", "against": "naive"}))
    _, text = page(folder, tmp_path)
    assert "<h1>Digits</h1>" in text
    assert "71.25" in text
    assert "Published numbers: Someone 2020" in text
    assert "against naive" in text
    (folder / "suite.json").write_text("{")
    assert "<h1>Results</h1>" in page(folder, tmp_path)[1]


def test_the_command(folder, tmp_path, capsys):
    (folder / "split-digits" / "broken").mkdir()
    (folder / "split-digits" / "broken" / "result.json").write_text("{")
    out = tmp_path / "page" / "r.html"
    assert cli.main(["report", str(folder), "--out", str(out), "--title", "Mine"]) == 0
    printed = capsys.readouterr()
    assert "6 runs in" in printed.out
    assert "left out" in printed.err
    assert "broken" in printed.err
    assert "<title>Mine</title>" in out.read_text()
    assert cli.main(["report", str(tmp_path / "nowhere")]) == 2
    (tmp_path / "file").write_text("")
    assert cli.main(["report", str(folder), "--out", str(tmp_path / "file" / "r.html")]) == 2


def test_several_benchmarks_are_compared_over_all(folder, tmp_path, result_files, monkeypatch):
    for k, name in enumerate(("b", "c", "d")):
        for recipe in ("er", "naive", "joint"):
            for file in result_files(folder / "split-digits", recipe):
                content = json.loads(file.read_text())
                other = folder / name / file.parent.parent.name / file.parent.name / "result.json"
                other.parent.mkdir(parents=True)
                other.write_text(json.dumps({**content, "benchmark": name, "n_experiences": 5 + k}))
    for file in list(folder.rglob("result.json")):
        content = json.loads(file.read_text())
        if content["recipe"] == "er":
            other = file.parents[1] / "der" / file.parent.name / "result.json"
            other.parent.mkdir(parents=True)
            other.write_text(json.dumps({**content, "recipe": "der"}))
    monkeypatch.setattr("ckd.report.page.figures", lambda *_, **__: [])  # of single benchmarks
    _, text = page(folder, tmp_path, figures=tmp_path / "f")
    assert "3 methods that all of 4 benchmarks have" in text
    assert re.search(r"Average ranks</h3>\s*<div class=.diagram.><svg", text)
    assert "Nemenyi" in text
    assert (tmp_path / "f" / "across-average-ranks.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "f" / "across-interquartile-means.svg").exists()
