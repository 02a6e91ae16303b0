"""Studies: on validation data, with seeds of their own, resumed, and refused early where they cannot work."""

import gc
import io
import json
import sys
from pathlib import Path

import optuna
import psutil
import pytest
from rich.console import Console

from ckd.bench import Choice, Range, parse_search, tune
from ckd.bench.search import FIRST_SEED
from ckd.bench.tuning import TRIALS
from ckd.checkpoint import CheckpointError, locked
from ckd.errors import CkdError, ConfigError, DataError, NonFiniteLossError, UnknownNameError

MODULE = sys.modules["ckd.bench.tuning"]
"""The module: in `ckd.bench` the name is the function's."""


QUIET = Console(quiet=True)


@pytest.fixture
def ran(monkeypatch):
    """The specs that were run; the accuracy of each is best at lr 0.2 and memory batch 7."""
    specs = []

    class Found:
        def __init__(self, spec):
            specs.append(spec)
            self.value = 1 - abs(spec.lr - 0.2) - abs((spec.settings.get("memory_batch_size") or 7) - 7) / 100
            self.matrix = self

        def average_accuracy(self):
            return self.value

    monkeypatch.setattr(MODULE, "run", lambda spec, **_: Found(spec))
    return specs


@pytest.fixture
def study(tmp_path):
    def act(space, recipe="er", **given):
        printed = io.StringIO()
        best = tune("split-digits", recipe, space, tmp_path, console=Console(file=printed, width=200), **given)
        return best, printed.getvalue()

    return act


def test_runs_are_validated_with_seeds_that_are_never_reported(ran, study):
    study({"lr": Range(0.1, 0.3)}, trials=3, seeds=2)
    assert len(ran) == 6
    assert all(spec.validate for spec in ran)
    assert {spec.seed for spec in ran} == {FIRST_SEED, FIRST_SEED + 1}
    assert all(0.1 <= spec.lr <= 0.3 for spec in ran)


def test_the_best_values_are_returned_and_written(ran, study, tmp_path):
    best, printed = study({"lr": Range(0.1, 0.3)}, trials=8)
    nearest = min((spec.lr for spec in ran), key=lambda lr: abs(lr - 0.2))
    assert best == {"lr": nearest}
    written = json.loads((tmp_path / "study.json").read_text())
    assert written["best"]["lr"] == nearest
    assert written["space"] == {"lr": [0.1, 0.3]}
    assert [t["accuracy"] for t in written["trials"]] == sorted(
        (t["accuracy"] for t in written["trials"]), reverse=True
    )
    assert f"best: --lr {nearest}\n" in printed


def test_a_study_goes_on_where_it_stopped(ran, study, tmp_path):
    study({"lr": Range(0.1, 0.3)}, trials=2)
    study({"lr": Range(0.1, 0.3)}, trials=5)
    study({"lr": Range(0.1, 0.3)}, trials=5)
    assert len(ran) == 5
    assert len(json.loads((tmp_path / "study.json").read_text())["trials"]) == 5


def test_the_best_values_are_printed_to_the_last_digit(ran, study):
    best, printed = study({"alpha": Range(0.99991, 0.99999), "lr": Range(0.1, 0.3)}, recipe="der", trials=1)
    assert f"best: --set alpha={best['alpha']!r} --lr {best['lr']!r}" in printed or (
        f"best: --lr {best['lr']!r} --set alpha={best['alpha']!r}" in printed
    )


def test_the_same_values_are_tried_again_in_one_go_or_two(ran, tmp_path):
    def tried(folder, *trials):
        ran.clear()
        for n in trials:
            tune("split-digits", "er", {"lr": Range(0.1, 0.3)}, tmp_path / folder, trials=n, console=QUIET)
        return [spec.lr for spec in ran]

    once = tried("a", 11)  # the first ten are drawn without a look at the earlier ones
    assert len(set(once)) == 11
    assert once == tried("b", 4, 11)


@pytest.mark.parametrize("name", ["a%20b", "a?b", "a{b}", "a#b", "ü"])
def test_a_study_is_in_the_folder_of_its_name(ran, tmp_path, name):
    tune("split-digits", "er", {"lr": Range(0.1, 0.3)}, tmp_path / name, trials=1, console=QUIET)
    assert [file.relative_to(tmp_path) for file in tmp_path.rglob("study.db")] == [Path(name) / "study.db"]


def test_of_those_that_begin_at_once_one_makes_the_study(ran, study, tmp_path, monkeypatch):
    made, create = [], optuna.create_study

    def alone(*given, **more):
        with pytest.raises(CheckpointError, match="no other process"), locked(tmp_path / TRIALS):
            pass
        made.append(create(*given, **more))
        return made[-1]

    monkeypatch.setattr(optuna, "create_study", alone)
    study({"lr": Range(0.1, 0.3)}, trials=1)
    assert len(made) == 1


def test_whole_numbers_stay_whole_and_settings_reach_the_recipe(ran, study):
    study({"alpha": Range(0.1, 1.0)}, recipe="der++", trials=2, fixed={"beta": 0.75}, memory_size=50)
    assert {spec.settings["beta"] for spec in ran} == {0.75}
    assert {spec.memory_size for spec in ran} == {50}
    ran.clear()
    study({"collage_of": Range(1, 3)}, recipe="tether", trials=3)
    assert all(isinstance(spec.settings["collage_of"], int) for spec in ran)


def test_a_run_that_diverges_counts_as_nothing_known(study, monkeypatch):
    def diverge(*_, **__):
        raise NonFiniteLossError("loss", expected="finite", received="NaN", fix="Lower the rate.")

    monkeypatch.setattr(MODULE, "run", diverge)
    with pytest.raises(NonFiniteLossError, match="a trial that works"):
        study({"lr": Range(0.1, 0.3)}, trials=2)


def test_another_setting_range_or_number_of_seeds_is_another_study(ran, study):
    for given in ({}, {"batch_size": 7}, {"fixed": {"memory_batch_size": 5}}, {"seeds": 2}):
        ran.clear()
        study({"lr": Range(0.1, 0.3)}, trials=1, **given)
        assert ran
    ran.clear()
    best, _ = study({"lr": Range(0.01, 0.02)}, trials=1)
    assert ran
    assert best["lr"] <= 0.02


def test_a_default_of_none_is_a_whole_number(ran, study):
    study({"memory_batch_size": Range(4, 50)}, trials=3)
    assert all(isinstance(spec.settings["memory_batch_size"], int) for spec in ran)


def test_what_is_set_is_not_searched(ran, study):
    with pytest.raises(ConfigError, match="names that are not set"):
        study({"alpha": Range(0.1, 1.0)}, recipe="der++", fixed={"alpha": 0.5})
    with pytest.raises(ConfigError, match="names that are not set"):
        study({"lr": Range(0.1, 0.3)}, lr=0.1)
    assert not ran


def test_a_file_that_is_no_study_is_refused(ran, study, tmp_path):
    (tmp_path / "study.db").write_text("this is no database, but a file of some length" * 100)
    with pytest.raises(DataError, match=r"study\.db"):
        study({"lr": Range(0.1, 0.3)}, trials=1)


@pytest.fixture
def left_open(tmp_path):
    """left_open() -> the files under tmp_path that are open, also those that a collection of garbage would close."""
    gc.disable()
    yield lambda: [file.path for file in psutil.Process().open_files() if Path(file.path).is_relative_to(tmp_path)]
    gc.enable()


def test_no_file_is_left_open(ran, study, left_open, tmp_path):
    study({"lr": Range(0.1, 0.3)}, trials=2)
    assert left_open() == []
    (tmp_path / "study.db").write_text("this is no database, but a file of some length" * 100)
    with pytest.raises(DataError):
        study({"lr": Range(0.1, 0.3)}, trials=1)
    assert left_open() == []


def test_it_trains_for_real(study):
    best, _ = study({"lr": Range(0.01, 0.3)}, trials=2, n_experiences=2, epochs=1)
    assert 0.01 <= best["lr"] <= 0.3


@pytest.mark.parametrize(
    ("space", "given", "error", "said"),
    [
        ({}, {}, ConfigError, "a range"),
        ({"speed": Range(1, 2)}, {}, UnknownNameError, "speed"),
        ({"memory_size": Range(1, 2)}, {}, UnknownNameError, "memory_size"),
        ({"lr": Range(0.1, 0.3)}, {"trials": 0}, ConfigError, "1 or more"),
        ({"lr": Range(0.0, 0.3)}, {}, ConfigError, "above 0"),
        ({"lr": Range(0.1, 0.3)}, {"fixed": {"gamma": 1.0}}, UnknownNameError, "gamma"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_trained(ran, study, space, given, error, said):
    with pytest.raises(error, match=said):
        study(space, **given)
    assert not ran


def test_without_optuna_it_says_how_to_get_it(study, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(CkdError, match="pip install"):
        study({"lr": Range(0.1, 0.3)})


@pytest.mark.parametrize("text", ["lr", "lr=0.1", "lr=a:b", "lr=0.3:0.1", "lr=0.1:inf"])
def test_a_range_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match=r"lr=0\.03:0\.3"):
        parse_search(text)


def test_a_range_is_logarithmic_where_its_ends_are_far_apart():
    assert parse_search("lr=0.03:0.3") == ("lr", Range(0.03, 0.3))
    assert Range(0.03, 0.3).log
    assert not Range(0.9, 0.99).log
    assert not Range(0.0, 1.0).log


# choices -----------------------------------------------------------------------------------------------------------


def test_what_is_parsed_with_commas_is_a_choice():
    assert parse_search("temperature=1,2.5,4") == ("temperature", Choice((1, 2.5, 4)))
    assert parse_search("recipe=kd, dkd") == ("recipe", Choice(("kd", "dkd")))


@pytest.mark.parametrize("text", ["recipe=kd,kd", "temperature=1,1.0"])
def test_a_choice_of_one_is_refused(text):
    with pytest.raises(ConfigError, match="each once"):
        parse_search(text)


def test_a_recipe_is_chosen_and_only_its_own_hyper_parameters_with_it(ran, study, tmp_path):
    space = {"recipe": Choice(("er", "der", "der++")), "alpha": Choice((0.1, 0.9)), "beta": Range(0.1, 1.0)}
    study(space, trials=12)
    assert {spec.recipe for spec in ran} == {"er", "der", "der++"}
    assert {spec.settings["alpha"] for spec in ran if spec.recipe != "er"} == {0.1, 0.9}
    trials = json.loads((tmp_path / "study.json").read_text())["trials"]
    asked = {"er": set(), "der": {"alpha"}, "der++": {"alpha", "beta"}}
    assert all(trial.keys() - {"accuracy", "recipe"} == asked[trial["recipe"]] for trial in trials)


@pytest.fixture
def distilled(tmp_path):
    def act(space, **given):
        printed = io.StringIO()
        small = {"epochs": 1, "samples_per_class": 20, "seeds": 1}
        console = Console(file=printed, width=200)
        return tune("digits", "kd", space, tmp_path, console=console, **{**small, **given}), printed.getvalue()

    return act


def test_a_teacher_is_chosen_and_trained_once_on_the_same_data(distilled, tmp_path, monkeypatch):
    specs, run = [], MODULE.run
    monkeypatch.setattr(MODULE, "run", lambda spec, **given: specs.append(spec) or run(spec, **given))
    space = {"teacher": Choice(("mlp", "convnet")), "temperature": Choice((1, 4)), "recipe": Choice(("kd", "dkd"))}
    best, printed = distilled(space, trials=3)
    assert best.keys() == space.keys()
    assert f"--recipe {best['recipe']} --teacher {best['teacher']} --set temperature={best['temperature']}" in printed
    assert all(teacher.validate and teacher.seed == FIRST_SEED for spec in specs for teacher in spec.teachers)
    chosen = {teacher.network for spec in specs for teacher in spec.teachers}
    assert len(list(tmp_path.rglob("network.safetensors"))) == len(chosen)


def test_the_teacher_of_the_data_is_the_usual_one(distilled):
    assert distilled({"temperature": Choice((1, 4))}, trials=1)[0].keys() == {"temperature"}


@pytest.mark.parametrize(
    ("space", "given", "said"),
    [
        ({"recipe": Range(1, 2)}, {}, "names to choose from"),
        ({"teacher": Choice(("mlp", "convnet"))}, {"teacher": "mlp"}, "names that are not set"),
        ({"teacher": Choice(("mlp", "convnet")), "recipe": Choice(("er", "der"))}, {}, "a recipe that takes one"),
        ({"recipe": Choice(("kd", "teacher"))}, {}, "teacher"),
        ({"temperature": Choice((1, 0))}, {}, "temperature"),
    ],
)
def test_choices_that_cannot_work_are_refused_before_anything_is_trained(ran, distilled, space, given, said):
    with pytest.raises(CkdError, match=said):
        distilled(space, **given)
    assert not ran
