"""The `ckd` command: what it prints, writes and refuses; and what importing ckd costs."""

import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import ckd
from ckd.cli import main
from ckd.data import BENCHMARKS
from ckd.networks import NETWORKS
from ckd.recipes import RECIPES, registry
from ckd.report import Results

ALL_SAMPLES = ("--experiences", "2", "--epochs", "1")
TINY = (*ALL_SAMPLES, "--samples-per-class", "20")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """run(*arguments) -> the exit status of `ckd run` with an output folder of the test's own; no picture is drawn."""
    monkeypatch.setattr("ckd.bench.suite.plot_forgetting", lambda *_, **__: None)
    return lambda *arguments: main(["run", *arguments, "--out", str(tmp_path / "out")])


def results(folder):
    return [json.loads(file.read_text()) for file in sorted(folder.rglob("result.json"))]


# list --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def listing(capsys, monkeypatch):
    """What `ckd list` prints on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["list"]) == 0
    return capsys.readouterr().out


def test_list_names_every_benchmark_recipe_and_network(listing):
    words = set(listing.replace(",", " ").split())
    assert words >= {*BENCHMARKS, *RECIPES, *NETWORKS, "FILE.npz"}


def test_list_shows_every_hyper_parameter_with_its_default(listing):
    words = set(listing.replace(",", " ").split())
    assert words >= {"alpha=0.5", "beta=0.5", "temperature=2.0", "distill_weight=1.0"}


# run ---------------------------------------------------------------------------------------------------------------


def test_run_writes_a_result_and_a_picture(tmp_path, capsys):
    assert main(["run", "split-digits", "--recipe", "er", *TINY, "--out", str(tmp_path / "out")]) == 0
    (content,) = results(tmp_path)
    assert (content["benchmark"], content["recipe"], content["seed"]) == ("split-digits", "er", 0)
    assert (content["n_experiences"], content["epochs"]) == (2, 1)
    assert np.array(content["accuracy_matrix"]).shape == (2, 2)
    assert (tmp_path / "out" / "forgetting.png").read_bytes().startswith(b"\x89PNG")
    out, err = capsys.readouterr()
    assert "forgetting.png" in out
    assert err == ""


def test_every_recipe_and_seed_is_run_once(run, tmp_path):
    assert run("split-digits", "--recipe", "naive", "--recipe", "er", "--recipe", "naive", "--seeds", "2", *TINY) == 0
    found = sorted((r["recipe"], r["seed"]) for r in results(tmp_path))
    assert found == [("er", 0), ("er", 1), ("naive", 0), ("naive", 1)]


def test_a_recipe_written_otherwise_is_the_registered_one(run, tmp_path):
    names = ("derpp", "DER_PP", "der++")
    assert run("split-digits", *(x for n in names for x in ("--recipe", n)), "--set", "alpha=0.3", *TINY) == 0
    (content,) = results(tmp_path)
    assert (content["recipe"], content["settings"]["alpha"]) == ("der++", 0.3)


def test_a_range_of_seeds_is_run(run, tmp_path):
    assert run("split-digits", "--recipe", "naive", "--seeds", "3-4", *TINY) == 0
    assert [r["seed"] for r in results(tmp_path)] == [3, 4]


@pytest.mark.parametrize(
    ("option", "value", "name", "expected"),
    [
        ("--lr", "0.25", "lr", 0.25),
        ("--batch-size", "40", "batch_size", 40),
        ("--memory-size", "30", "memory_size", 30),
        ("--network", "convnet", "network", "convnet"),
        ("--passes", "2", "passes", 2),
        ("--evaluate-every", "20", "evaluate_every", 20),
    ],
)
def test_an_option_lands_in_the_result(run, tmp_path, option, value, name, expected):
    assert run("split-digits", "--recipe", "er", option, value, *TINY) == 0
    assert [r[name] for r in results(tmp_path)] == [expected]


def test_online_lands_in_the_result_and_reaches_the_memory(run, tmp_path):
    for how in ("--online", "--no-online"):
        assert run("split-digits", "--recipe", "ballast", how, *TINY) == 0
    online, whole = sorted(results(tmp_path), key=lambda result: not result["online"])
    assert (online["online"], whole["online"]) == (True, False)
    assert online["losses"]["criterion"][0] != whole["losses"]["criterion"][0]  # its memory has samples of the stream


def test_validate_lands_in_the_result(run, tmp_path):
    assert run("split-digits", "--recipe", "naive", "--validate", *TINY) == 0
    assert [r["validate"] for r in results(tmp_path)] == [True]


def test_set_reaches_the_recipes_that_have_the_hyper_parameter(run, tmp_path):
    assert run("split-digits", "--recipe", "der++", "--recipe", "er", "--set", "alpha=0.3", *TINY) == 0
    settings = {r["recipe"]: r["settings"] for r in results(tmp_path)}
    assert settings["der++"]["alpha"] == 0.3
    assert "alpha" not in settings["er"]


@pytest.mark.parametrize("force", [False, True])
def test_what_is_finished_is_only_run_again_if_forced(run, tmp_path, force):
    run("split-digits", "--recipe", "naive", *TINY)
    (file,) = tmp_path.rglob("result.json")
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "seconds": {"training": -1.0, "evaluation": -1.0}}))
    assert run("split-digits", "--recipe", "naive", *TINY, *(["--force"] if force else [])) == 0
    assert (results(tmp_path)[0]["seconds"]["training"] == -1.0) is not force


@pytest.mark.parametrize(("given", "expected"), [((), 1), (("--jobs", "3"), 3)])
def test_jobs_reach_the_suite(run, monkeypatch, given, expected):
    passed = {}
    monkeypatch.setattr("ckd.bench.run_suite", lambda specs, out, **settings: passed.update(settings))
    assert run("split-digits", "--recipe", "er", *given) == 0
    assert passed["jobs"] == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), None),
        (("--ray",), (None, 1.0, 0.0)),
        (("--ray", "host:6379", "--cpus-per-run", "2", "--gpus-per-run", "0.5"), ("host:6379", 2.0, 0.5)),
    ],
)
def test_the_cluster_reaches_the_suite(run, monkeypatch, given, expected):
    passed = {}
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    monkeypatch.setattr("ckd.bench.run_suite", lambda specs, out, **settings: passed.update(settings))
    assert run("split-digits", "--recipe", "er", *given) == 0
    found = passed["cluster"]
    assert (found and (found.address, found.cpus, found.gpus)) == expected


def test_a_cluster_and_jobs_exclude_each_other(run, capsys):
    with pytest.raises(SystemExit):
        run("split-digits", "--recipe", "er", "--ray", "--jobs", "2")
    assert "not allowed with" in capsys.readouterr().err


def npz_file(folder, **changes):
    """The path of an npz file with two classes; what is None in `changes` is left out."""
    x, y = np.random.default_rng(0).random((40, 6), dtype="float32"), np.arange(40) % 2
    given = {"x_train": x, "y_train": y, "x_test": x, "y_test": y, **changes}
    np.savez(folder / "mine.npz", **{k: v for k, v in given.items() if v is not None})
    return str(folder / "mine.npz")


def test_run_takes_arrays_of_ones_own(run, tmp_path):
    assert run(npz_file(tmp_path), "--recipe", "naive", "--epochs", "1") == 0
    assert [r["benchmark"] for r in results(tmp_path)] == [str(tmp_path / "mine.npz")]


@pytest.mark.parametrize("stream", ["split", "permuted"])
def test_run_makes_the_stream_that_is_asked_for_of_arrays_of_ones_own(run, tmp_path, stream):
    file = npz_file(tmp_path)
    assert run(file, "--recipe", "naive", "--epochs", "1", "--stream", stream) == 0
    (content,) = results(tmp_path)
    n = {"split": 2, "permuted": 10}[stream]
    assert np.array(content["accuracy_matrix"]).shape == (n, n)
    assert (content["stream"] or "split") == stream


def test_run_takes_a_recipe_of_ones_own(run, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "RECIPES", dict(registry.RECIPES))
    file = tmp_path / "mine.py"
    file.write_text(
        "from ckd import recipes\n\n\ndef mine(*, memory_size=9):\n    return recipes.er(memory_size=memory_size)\n"
    )
    assert run("split-digits", "--recipe", f"{file}:mine", "--memory-size", "7", *TINY) == 0
    (content,) = results(tmp_path)
    assert content["recipe"] == f"{file}:mine"
    assert content["memory_bytes"]["inputs"] == 7 * 64
    assert content["code"]


def test_run_takes_a_benchmark_of_ones_own(run, tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(
        "from ckd.data import split\nfrom ckd.data.sources import digits\n\n\n"
        "def pairs(n_experiences=5):\n    return split(digits(), n_experiences)\n\n\n"
        "def nothing():\n    return None\n"
    )
    assert run(f"{file}:pairs", "--recipe", "naive", *ALL_SAMPLES) == 0
    (content,) = results(tmp_path)
    assert (content["benchmark"], content["n_experiences"]) == (f"{file}:pairs", 2)
    assert content["data"]
    assert "mine.py-pairs: percent" in capsys.readouterr().out
    assert run("split-digits", "--recipe", "naive", *ALL_SAMPLES) == 0
    same = [r["accuracy_matrix"] for r in results(tmp_path) if r["recipe"] == "naive"]
    assert same[0] == same[1]
    assert run(f"{file}:nothing", "--recipe", "naive", "--epochs", "1") == 2
    assert "mine.py:nothing': expected a TensorStream or Arrays; received None" in capsys.readouterr().err


# errors ------------------------------------------------------------------------------------------------------------

DIGITS = ("split-digits", *TINY)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((*DIGITS, "--recipe", "der+"), "Did you mean 'der++'"),
        (("split-digit", "--recipe", "er"), "Did you mean 'split-digits'"),
        ((*DIGITS, "--recipe", "er", "--network", "resnet"), "Did you mean 'resnet18'"),
        ((*DIGITS, "--recipe", "der++", "--set", "alhpa=1"), "Did you mean 'alpha'"),
        ((*DIGITS, "--recipe", "naive", "--set", "alpha=1"), "unknown hyper-parameter of naive"),
        ((*DIGITS, "--recipe", "der++", "--recipe", "naive", "--set", "alhpa=1"), "Did you mean 'alpha'"),
        ((*DIGITS, "--recipe", "er", "--set", "memory_size=7"), "received memory_size"),
        ((*DIGITS, "--recipe", "er", "--set", "seed=7"), "received seed"),
        ((*DIGITS, "--recipe", "der++", "--set", "alpha"), "NAME=NUMBER"),
        ((*DIGITS, "--recipe", "der++", "--set", "alpha="), "NAME=NUMBER"),
        ((*DIGITS, "--recipe", "der++", "--set", "alpha=a lot"), "NAME=NUMBER"),
        *(
            ((*DIGITS, "--recipe", "der++", "--set", f"alpha={value}"), "expected a number")
            for value in ("None", "'much'", "{1, 2}", "[1]", "True")
        ),
        ((*DIGITS, "--recipe", "er", "--device", "nonsense"), "device: expected cpu"),
        ((*DIGITS, "--recipe", "er", "--memory-size", "-1"), "memory size"),
        ((*DIGITS, "--recipe", "er", "--seeds", "0"), "a range 3-7 or a list 0,2,5; received '0'"),
        ((*DIGITS, "--recipe", "er", "--cpus-per-run", "2"), "Add --ray"),
        ((*DIGITS, "--recipe", "er", "--jobs", "0"), "jobs: expected 1 or more; received 0"),
        ((*DIGITS, "--recipe", "er", "--lr", "0"), "learning rate"),
        ((*DIGITS, "--recipe", "er", "--evaluate-every", "-1"), "evaluate every"),
        (("split-digits", "--recipe", "er", "--experiences", "3"), "a divisor of 10"),
        (("nowhere.npz", "--recipe", "er"), "nowhere.npz"),
        (("nowhere.npz", "--recipe", "er", "--stream", "rotate"), "Did you mean 'rotated'"),
        ((*DIGITS, "--recipe", "er", "--stream", "permuted"), "stream of split-digits"),
    ],
    ids=lambda value: " ".join(value[-3:]) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_explained_in_one_line(run, capsys, arguments, said):
    assert run(*arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("ckd: ")
    assert said in err
    assert err.count("\n") == 1


def test_features_cannot_be_rotated(run, tmp_path, capsys):
    assert run(npz_file(tmp_path), "--recipe", "er", "--stream", "rotated") == 2
    assert "expected images" in capsys.readouterr().err


def test_a_missing_key_is_explained(run, tmp_path, capsys):
    assert run(npz_file(tmp_path, y_test=None), "--recipe", "er") == 2
    err = capsys.readouterr().err
    assert err.startswith("ckd: ")
    assert "(no y_test)" in err


def test_an_output_folder_that_cannot_be_written_is_explained(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["run", *DIGITS, "--recipe", "naive", "--out", str(tmp_path / "file" / "out")]) == 2
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["run"], ["run", "split-digits"], ["walk"], ["run", "x", "--recipe"]])
def test_a_command_that_is_not_whole_shows_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: ckd" in capsys.readouterr().err


def test_an_interrupt_ends_quietly(run, monkeypatch, capsys):
    def interrupt(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("ckd.bench.run_suite", interrupt)
    assert run(*DIGITS, "--recipe", "naive") == 130
    assert capsys.readouterr().err == "ckd: interrupted; finished runs are kept\n"


def test_the_script_ends_at_once_when_all_is_said():
    code = (
        "import atexit, sys\n"
        "import ckd.cli\n"
        "class Slow:\n"
        "    def __del__(self): print('taken apart')\n"
        "slow = Slow()\n"
        "def main():\n"
        "    atexit.register(print, 'at exit')\n"
        "    print('said')\n"
        "    return 3\n"
        "ckd.cli.main = main\n"
        "sys.exit(ckd.cli.script())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "said\nat exit\n", "")


def test_the_script_shows_an_error_of_its_own_in_full():
    code = "import ckd.cli\nckd.cli.main = lambda: 1 / 0\nckd.cli.script()\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out.strip() == ckd.__version__


def test_demo_compares_five_recipes(tmp_path, monkeypatch):
    passed = {}
    monkeypatch.setattr("ckd.bench.run_suite", lambda specs, out, **given: passed.update(specs=specs, out=out, **given))
    monkeypatch.setattr("ckd.report.write_report", lambda folders, page, **_: passed.update(page=page) or Results(()))
    assert main(["demo", "--out", str(tmp_path)]) == 0
    assert passed["page"] == tmp_path / "report.html"
    assert passed["renew"]  # a new version of ckd is no reason to refuse
    assert {spec.recipe for spec in passed["specs"]} == {"naive", "lwf", "er", "der++", "self-distillation"}
    assert {spec.benchmark for spec in passed["specs"]} == {"split-digits"}  # embedded: no download
    assert passed["out"] == str(tmp_path)


# the package -------------------------------------------------------------------------------------------------------


def test_the_public_names_are_these():
    assert ckd.__all__ == [
        "AccuracyMatrix",
        "AccuracyRecorder",
        "Adaptor",
        "CkdError",
        "Ema",
        "Engine",
        "Ensemble",
        "Fixed",
        "Memory",
        "Objective",
        "SelfDistillation",
        "Snapshot",
        "TensorLoader",
        "Term",
        "load_results",
        "tap",
    ]


@pytest.mark.parametrize("name", ckd.__all__)
def test_every_public_name_resolves(name):
    assert getattr(ckd, name).__name__ == name


def test_every_package_is_an_attribute():
    packages = {module.name for module in pkgutil.iter_modules(ckd.__path__) if module.ispkg}
    assert packages == set(ckd._MODULES) <= set(dir(ckd))
    assert all(getattr(ckd, name).__name__ == f"ckd.{name}" for name in packages)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Recipe'"):
        ckd.Recipe  # noqa: B018


def test_the_core_and_the_readmes_own_loop_do_not_import_avalanche_nor_a_suite_ray():
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    _, loop = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    loop = loop.replace("range(5)", "range(1)").replace("split(16)", "split(400)")  # one step an experience
    core = ("losses", "teachers", "memory", "heads", "anchors", "views", "objective", "engine", "recipes", "evaluation")
    light = ["ckd", "ckd.cli", *(f"ckd.{package}" for package in core)]
    code = (
        "import importlib, sys\n"
        f"for name in {light!r}:\n"
        "    importlib.import_module(name)\n"
        "    if 'avalanche' in sys.modules: sys.exit(f'{name} imports avalanche')\n"
        f"{loop}"
        "if 'avalanche' in sys.modules: sys.exit('the loop imports avalanche')\n"
        "import ckd.bench\n"
        "if 'ray' in sys.modules: sys.exit('ckd.bench imports ray')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# what is misspelt ---------------------------------------------------------------------------------------------------


def test_a_misspelt_option_brings_the_one_that_was_meant(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["distil", "--teacher-netwrok=mlp"])
    assert ended.value.code == 2
    told = "ckd distil: unrecognized arguments: --teacher-netwrok=mlp; did you mean --teacher-network?\n"
    assert capsys.readouterr().err == told


def test_a_pickled_network_is_refused_with_what_to_write_in_its_place(capsys):
    assert main(["distil", "--teacher", "mine.pt"]) == 2
    assert "save_file(model.state_dict(), 'network.safetensors')" in capsys.readouterr().err
