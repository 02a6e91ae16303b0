"""Many runs: kept or repeated, tabulated, drawn."""

import io
import json
import os

import numpy as np
import pytest
from rich.console import Console

import ckd.bench.suite
from ckd.bench import Result, plan, run_suite, table
from ckd.bench.suite import by_method
from ckd.bench.tables import print_whole
from ckd.errors import ConfigError, DataError, NonFiniteLossError
from ckd.evaluation import AccuracyMatrix

LONG_AGO = 1_000_000_000


def specs(*recipes, seeds=1):
    return [
        plan("split-digits", r, seed=s, memory_size=20, n_experiences=2, epochs=1, samples_per_class=20)
        for r in recipes
        for s in range(seeds)
    ]


def files(folder):
    return sorted(folder.rglob("result.json"))


def made_long_ago(folder):
    for file in files(folder):
        os.utime(file, (LONG_AGO, LONG_AGO))


def test_results_come_in_the_order_of_the_specs(suite):
    wanted = specs("naive", "er", seeds=2)
    results, _ = suite(wanted)
    assert [r.spec for r in results] == wanted


def test_the_same_run_is_run_once(suite):
    (wanted,) = specs("naive")
    again = plan("split-digits", "naive", seed=0, memory_size=50, n_experiences=2, epochs=1, samples_per_class=20)
    results, _ = suite([wanted, again])
    assert [r.spec for r in results] == [wanted]


def test_what_is_finished_is_kept(suite, tmp_path, monkeypatch):
    wanted = specs("naive", seeds=2)
    first, _ = suite(wanted)
    made_long_ago(tmp_path)
    monkeypatch.setattr(ckd.bench.suite, "run", None)  # nothing may be run any more
    again, printed = suite(wanted)
    assert [f.stat().st_mtime for f in files(tmp_path)] == [LONG_AGO] * 2
    assert [r.matrix.values.tolist() for r in again] == [r.matrix.values.tolist() for r in first]
    assert "2 of 2 runs are finished already" in printed


def test_only_what_is_missing_is_run(suite, tmp_path):
    suite(specs("naive"))
    made_long_ago(tmp_path)
    suite(specs("naive", "er"))
    assert sorted(f.stat().st_mtime == LONG_AGO for f in files(tmp_path)) == [False, True]


def test_force_runs_again(suite, tmp_path):
    suite(specs("naive"))
    made_long_ago(tmp_path)
    suite(specs("naive"), force=True)
    assert [f.stat().st_mtime == LONG_AGO for f in files(tmp_path)] == [False]


def test_a_damaged_result_is_refused_unless_forced(suite, tmp_path):
    suite(specs("naive"))
    files(tmp_path)[0].write_text("{")
    with pytest.raises(DataError, match="--force"):
        suite(specs("naive"))
    results, _ = suite(specs("naive"), force=True)
    assert len(results) == 1


@pytest.fixture
def other_code(suite, tmp_path):
    """other_code(digest) -> results of naive with two seeds, the first of which that code made (None: not said)."""

    def act(digest):
        suite(specs("naive", seeds=2))
        content = json.loads(files(tmp_path)[0].read_text())
        content["made"] |= {"code": digest}
        if digest is None:
            del content["made"]["code"], content["format"]
        files(tmp_path)[0].write_text(json.dumps(content))
        made_long_ago(tmp_path)

    return act


@pytest.mark.parametrize("digest", ["0123456789ab", None])
def test_results_of_other_code_are_refused_before_anything_is_trained(suite, other_code, monkeypatch, digest):
    other_code(digest)
    monkeypatch.setattr(ckd.bench.suite, "run", None)
    with pytest.raises(DataError, match=r"1 of 2 made by other code\. Use another --out, --force .* or --keep"):
        suite(specs("naive", "er", seeds=2))


def test_results_of_other_code_are_run_again_or_kept_as_is_asked(suite, other_code, tmp_path):
    other_code("0123456789ab")
    suite(specs("naive", seeds=2), keep=True)
    assert [f.stat().st_mtime == LONG_AGO for f in files(tmp_path)] == [True, True]
    suite(specs("naive", seeds=2), force=True)
    assert [f.stat().st_mtime == LONG_AGO for f in files(tmp_path)] == [False, False]
    suite(specs("naive", seeds=2))


def test_the_demo_runs_again_what_other_code_made_and_keeps_the_rest(suite, other_code, tmp_path):
    other_code("0123456789ab")
    suite(specs("naive", seeds=2), renew=True)
    assert sorted(f.stat().st_mtime == LONG_AGO for f in files(tmp_path)) == [False, True]


def test_results_of_other_code_that_are_not_asked_for_are_left_alone(suite, other_code):
    other_code("0123456789ab")
    results, _ = suite(specs("naive", seeds=2)[1:])
    assert len(results) == 1


def test_finished_runs_are_kept_when_a_later_one_fails(suite, tmp_path):
    with pytest.raises(ConfigError, match="network"):  # digits are too small for it
        suite([*specs("naive"), plan("split-digits", "naive", seed=1, n_experiences=2, network="resnet18")])
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize("recipes", [("naive",), ("joint",), ("naive", "joint", "er")])
def test_a_picture_is_drawn(tmp_path, recipes):
    run_suite(specs(*recipes), tmp_path)
    assert (tmp_path / "forgetting.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_each_of_several_benchmarks_has_a_table_and_a_picture(suite, pictures):
    small = {"n_experiences": 2, "epochs": 1, "samples_per_class": 20}
    wanted = [plan(b, "naive", seed=0, **small) for b in ("split-digits", "permuted-digits")]
    _, printed = suite(wanted)
    assert sorted(pictures) == ["forgetting-permuted-digits.png", "forgetting-split-digits.png"]
    for benchmark in ("split-digits", "permuted-digits"):
        assert f"{benchmark}: percent" in printed
    assert printed.count("\n  naive ") == 2


def test_the_table_and_the_folder_are_printed(suite, tmp_path):
    _, printed = suite(specs("naive", "er"))
    for method in ("naive", "er"):
        assert f"\n  {method} " in printed
    assert str(tmp_path) in printed.replace("\n", "")


def test_an_output_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="can be written"):
        run_suite(specs("naive"), tmp_path / "file" / "out")


# the table ---------------------------------------------------------------------------------------------------------

ONE = [[0.9, 0.0], [0.5, 0.8]]


def result(recipe, seed, rows, memory_size=200, **settings):
    return Result(
        spec=plan("split-digits", recipe, seed=seed, memory_size=memory_size, settings=settings),
        matrix=AccuracyMatrix(rows),
        task_matrix=AccuracyMatrix(rows),
        losses={},
        seconds={"training": 1.0 + seed, "evaluation": 1.0},
        memory_bytes={"inputs": 12_000, "labels": 1_600},
        made={},
    )


def rows_of(results, published=None, against=None):
    """The rows of the table, each by column."""
    columns = {str(column.header): list(column.cells) for column in table(results, published, against).columns}
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def test_the_table_has_a_row_for_each_method_and_memory_size():
    methods = [("naive", 200), ("er", 200), ("er", 500), ("joint", 200)]
    found = rows_of([result(r, s, ONE, size) for r, size in methods for s in range(3)])
    named = [(row["method"], row["memory"]) for row in found]
    assert named == [("naive", "-"), ("er", "200"), ("er", "500"), ("joint", "-")]


def test_a_row_is_the_mean_and_the_sample_standard_deviation_over_seeds():
    matrices = np.array([[[0.9, 0.0], [0.5, 0.8]], [[1.0, 0.2], [0.4, 0.7]], [[0.8, 0.1], [0.6, 0.9]]])
    (row,) = rows_of([result("naive", s, m) for s, m in enumerate(matrices)])

    def shown(values):
        return f"{100 * np.mean(values):.2f} ± {100 * np.std(values, ddof=1):.2f}"

    assert row["accuracy"] == shown(matrices[:, 1].mean(1))
    assert row["forgetting"] == shown(matrices[:, 0, 0] - matrices[:, 1, 0])
    assert (row["s"], row["kB"]) == ("3.0", "14")


def test_the_table_says_over_how_many_seeds():
    assert "3 seeds" in table([result("naive", s, ONE) for s in range(3)]).title
    assert table([result("naive", 0, ONE)]).title.endswith("one seed")


def test_one_seed_has_no_deviation():
    (row,) = rows_of([result("naive", 0, ONE)])
    assert row["accuracy"] == "65.00"


def test_joint_training_has_no_forgetting_in_the_table():
    (row,) = rows_of([result("joint", 0, [[0.9, 0.7]])])
    assert (row["accuracy"], row["forgetting"]) == ("80.00", "-")


def test_published_numbers_stand_beside_ours():
    found = rows_of([result("er", 0, ONE), result("er", 0, ONE, 500)], {("er", 500): 57.74})
    assert [row["published"] for row in found] == ["-", "57.74"]
    assert "published" not in rows_of([result("er", 0, ONE)])[0]


def test_each_method_is_tested_against_the_one_that_is_named_with_as_large_a_memory():
    def better(recipe, size, by):
        return [result(recipe, s, [[0.9, 0.0], [0.5 + by, 0.7 + 0.01 * s]], size) for s in range(6)]

    results = [*better("er", 200, 0.0), *better("tether", 200, 0.1), *better("tether", 500, 0.1)]
    found = rows_of([*results, *better("naive", 0, -0.1)], against="er")
    assert [row["p"] for row in found] == ["-", "0.031", "-", "0.031"]  # 2 / 2⁶: all six seeds differ one way
    assert rows_of(better("er", 200, 0.0)[:5] + better("der", 200, 0.1), against="er")[1]["p"] == "-"


def test_of_many_seeds_the_first_twenty_are_tested(monkeypatch):
    tested = []
    monkeypatch.setattr("ckd.bench.tables.paired_test", lambda ours, theirs: tested.append((ours, theirs)) or 0.5)
    results = [result(r, s, [[0.01 * s + by]]) for r, by in (("er", 0.0), ("der", 0.5)) for s in reversed(range(21))]
    shown = table(results, against="er")
    assert tested == [tuple(pytest.approx([0.01 * s + by for s in range(20)]) for by in (0.5, 0.0))]
    assert shown.title.endswith("21 seeds; p: against er over the first 20 seeds, uncorrected")
    assert "first" not in table([r for r in results if r.spec.seed < 20], against="er").title


def test_recipes_to_compare_with_may_be_written_otherwise():
    results = [result(r, s, [[0.5 + 0.01 * s]]) for r in ("er", "der++") for s in range(2)]
    found = rows_of(results, {("derpp", 200): 88.0}, "ER")
    assert [(row["published"], row["p"]) for row in found] == [("-", "-"), ("88.00", "1.000")]


@pytest.mark.parametrize("given", [{"against": "eer"}, {"published": {("eer", 200): 80.0}}])
def test_a_misspelt_recipe_to_compare_with_is_refused_before_anything_is_run(suite, tmp_path, given):
    with pytest.raises(ConfigError, match="Did you mean 'er'"):
        suite(specs("er"), **given)
    assert not files(tmp_path)


@pytest.mark.parametrize("width", [40, 80, 300])
def test_a_printed_table_is_whole(width):
    results = [result(r, s, [[0.5 + 0.01 * s]]) for r in ("self-distillation", "der++") for s in range(3)]
    shown, printed = table(results, {("der++", 200): 88.0}, "der++"), io.StringIO()
    print_whole(Console(file=printed, width=width), shown)
    assert "…" not in printed.getvalue()
    assert printed.getvalue().count("51.00 ± 1.00") == 2 * 2


def test_methods_that_differ_only_in_a_setting_have_labels_of_their_own():
    results = [result("der++", s, ONE, alpha=alpha) for alpha in (0.1, 0.2, 0.3) for s in range(2)]
    groups = by_method(results)
    assert list(groups) == ["der++, memory 200", "der++, memory 200 (2)", "der++, memory 200 (3)"]
    assert [[r.spec.settings["alpha"] for r in g] for g in groups.values()] == [[0.1] * 2, [0.2] * 2, [0.3] * 2]
    assert [row["method"] for row in rows_of(results)] == ["der++", "der++ (2)", "der++ (3)"]


def test_nothing_to_run_is_refused(suite):
    with pytest.raises(ConfigError, match="at least one run"):
        suite([])


def test_a_run_that_diverges_is_named_and_the_others_are_finished(suite, pictures, tmp_path):
    bad = plan("split-digits", "naive", seed=0, n_experiences=2, epochs=1, samples_per_class=20, lr=1e30)
    with pytest.raises(NonFiniteLossError, match="naive, seed 0"):
        suite([bad, *specs("er")])
    assert [file.parts[-3].split("-")[0] for file in files(tmp_path)] == ["er"]
    assert pictures == ["forgetting.png"]
