"""Suites as files: what they expand to, what of it is picked, and what is refused."""

import json
from pathlib import Path

import pytest

from ckd.bench import Suite
from ckd.bench.suite_file import load_suite, save_suite
from ckd.errors import ConfigError, DataError, UnknownNameError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SUITES = sorted(file for file in BENCHMARKS.glob("*.py") if "\nsuite = " in file.read_text())

DIGITS = Suite(
    "Digits",
    benchmarks=["split-digits", "permuted-digits"],
    recipes=["naive", "er", "der++"],
    memory_sizes=[50, 100],
    seeds=range(2),
    settings={"der++": {"alpha": 0.25}},
    protocol={"epochs": 3},
)


def names(specs):
    return [spec.name for spec in specs]


def test_a_suite_is_every_recipe_at_every_size_and_seed_on_every_benchmark():
    per_benchmark = ["naive", "er-50", "er-100", "der++-50", "der++-100"]  # without a memory one run serves all sizes
    expected = [f"{b}/{r}/seed{s}" for b in DIGITS.benchmarks for r in per_benchmark for s in (0, 1)]
    assert names(DIGITS.specs()) == expected


def test_settings_are_those_of_their_recipe_and_the_protocol_is_that_of_all_runs():
    specs = DIGITS.specs()
    assert {spec.settings.get("alpha") for spec in specs if spec.recipe == "der++"} == {0.25}
    assert {spec.epochs for spec in specs} == {3}


def test_recipes_may_be_written_otherwise():
    suite = Suite("Digits", ["split-digits"], ["derpp"], settings={"DER++": {"alpha": 0.25}})
    assert {(spec.recipe, spec.settings["alpha"]) for spec in suite.specs(recipes=["der_pp"])} == {("der++", 0.25)}


def test_a_report_finds_the_recipes_by_the_names_that_results_have(tmp_path):
    published = {("derpp", 100): 88.0}
    suite = Suite("Digits", ["split-digits"], ["derpp"], published=published, source="a paper", against="DER_PP")
    save_suite(suite, tmp_path)
    written = json.loads((tmp_path / "suite.json").read_text())
    assert (written["published"], written["against"]) == ([["der++", 100, 88.0]], "der++")


def test_what_is_given_replaces_what_the_suite_says():
    specs = DIGITS.specs(recipes=["lwf", "er"], memory_sizes=[7], seeds=[5], only="split*", evaluate_every=10)
    assert names(specs) == ["split-digits/lwf/seed5", "split-digits/er-7/seed5"]
    assert {spec.evaluate_every for spec in specs} == {10}


@pytest.mark.parametrize(
    ("pattern", "n"),
    [
        ("*", 20),
        ("split-digits/*", 10),
        ("*/der++-*/seed1", 4),
        ("*/er-[15]*/*", 8),
        ("split-digits/naive/seed0", 1),
    ],
)
def test_a_pattern_picks_runs(pattern, n):
    assert len(DIGITS.specs(only=pattern)) == n


@pytest.mark.parametrize(
    ("pattern", "near"),
    [("split-digit/er-50/seed0", "split-digits/er-50/seed0"), ("*/ER-50/seed1", "er-50/seed1"), ("zzz", "/seed")],
)
def test_a_pattern_that_matches_nothing_is_refused_with_near_names(pattern, near):
    with pytest.raises(ConfigError, match="one of the 20 runs") as error:
        DIGITS.specs(only=pattern)
    assert near in error.value.fix


@pytest.mark.parametrize(
    ("wrong", "kind", "said"),
    [
        ({"recipes": []}, ConfigError, "recipes of the suite: expected a list"),
        ({"benchmarks": "split-digits"}, ConfigError, "benchmarks of the suite: expected a list"),
        ({"seeds": 3}, ConfigError, "seeds of the suite: expected a list"),
        ({"settings": {"der+": {}}}, UnknownNameError, "Did you mean 'der\\+\\+'"),
        ({"protocol": {"epoch": 3}}, UnknownNameError, "Did you mean 'epochs'"),
        ({"protocol": {"seed": 3}}, UnknownNameError, "protocol argument"),
        ({"against": "eer"}, UnknownNameError, "Did you mean 'er'"),
        (
            {"against": "joint", "recipes": ["er", "joint"], "settings": {}},
            ConfigError,
            "received joint, which sees all data",
        ),
        ({"published": {("derr", 50): 80.0}}, UnknownNameError, "Did you mean 'der'"),
        ({"published": {("er", 50): 80.0}, "source": "a paper"}, ConfigError, "2 benchmarks"),
        ({"published": {("er", 50): 80.0}, "benchmarks": ["split-digits"]}, ConfigError, "source=''"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_meant_is_refused(wrong, kind, said):
    given = {name: getattr(DIGITS, name) for name in Suite.__dataclass_fields__}
    with pytest.raises(kind, match=said):
        Suite(**{**given, **wrong})


def test_the_suite_of_a_file_is_loaded(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from ckd.bench import Suite\n\nsuite = Suite('Mine', ['split-digits'], ['naive'])\n"
    )
    assert load_suite(tmp_path / "mine.py") == Suite("Mine", ["split-digits"], ["naive"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no such file"),
        ("suite = Suite(", "never closed"),
        ("import nothing_of_the_kind", "nothing_of_the_kind"),
        ("", r"expected suite = Suite\(...\); received none"),
        ("suite = 3", "received 3"),
    ],
)
def test_a_file_without_a_suite_is_refused(tmp_path, text, said):
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_suite(file)


@pytest.mark.parametrize("file", SUITES, ids=lambda file: file.stem)
def test_the_suites_of_this_repository_can_be_planned(file):
    suite = load_suite(file)
    specs = suite.specs(seeds=[0])
    assert len(specs) >= len(suite.recipes)
    assert suite.against in suite.recipes
    assert all("not tuned" not in spec.source for spec in specs if spec.recipe == "der++" and suite.published)


def test_there_are_suites_in_this_repository():
    assert {file.stem for file in SUITES} >= {"split_mnist", "split_cifar", "split_cifar_full", "permuted_mnist"}


# the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def bench(tmp_path, capsys):
    """bench(*options) -> the exit status of `ckd bench`, and what it printed."""
    from ckd.cli import main

    file = tmp_path / "mine.py"
    file.write_text(
        "from ckd.bench import Suite\n\n"
        "suite = Suite('Mine', ['split-digits', 'permuted-digits'], ['naive', 'er'], memory_sizes=[20], seeds=[0, 1],\n"
        "              protocol={'epochs': 1, 'n_experiences': 2})\n"
    )

    def act(*options):
        status = main(["bench", str(file), "--out", str(tmp_path / "out"), *options])
        out, err = capsys.readouterr()
        return status, out + err

    return act


def results(folder):
    return sorted((folder / "out").rglob("result.json"))


def test_a_dry_run_lists_what_is_finished_and_runs_nothing(bench, tmp_path):
    assert bench("--only", "*/naive/seed0")[0] == 0
    before = [file.stat().st_mtime_ns for file in results(tmp_path)]
    status, printed = bench("--dry-run")
    assert status == 0
    assert printed.startswith("Mine\n")
    assert "finished    split-digits/naive/seed0" in printed
    assert "missing     permuted-digits/er-20/seed1" in printed
    assert "8 runs: 2 finished, 6 missing" in printed
    assert [file.stat().st_mtime_ns for file in results(tmp_path)] == before
    file = results(tmp_path)[0]
    file.write_text(file.read_text().replace('"code"', '"was"'))
    assert "8 runs: 1 finished, 6 missing, 1 other code" in bench("--dry-run")[1]


def test_options_replace_what_the_suite_says(bench, tmp_path):
    assert bench("--recipe", "er", "--memory-size", "7", "--seeds", "4-5", "--only", "split*")[0] == 0
    assert [file.parts[-2] for file in results(tmp_path)] == ["seed4", "seed5"]
    assert all(file.parts[-3].startswith("er-7-") for file in results(tmp_path))
    assert "<h1>Mine</h1>" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--only", "nothing"), "--only: expected a pattern"),
        (("--seeds", "x"), "seeds: expected"),
        (("--recipe", "er+"), "Did you mean"),
    ],
)
def test_a_mistake_is_explained(bench, options, said):
    status, printed = bench(*options)
    assert status == 2
    assert said in printed


def test_a_damaged_result_is_refused_by_a_dry_run_too(bench, tmp_path):
    from ckd.bench.suite import list_runs

    assert bench("--only", "split-digits/naive/seed0")[0] == 0
    results(tmp_path)[0].write_text("{")
    specs = load_suite(tmp_path / "mine.py").specs()
    with pytest.raises(DataError, match="--force"):
        list_runs(specs, tmp_path / "out")
