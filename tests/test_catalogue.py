"""The catalogue read from the source: the same as the registries, without what they import."""

import importlib.metadata
import subprocess
import sys
from dataclasses import fields

import pytest

from ckd import catalogue
from ckd.cli import main
from ckd.data import BENCHMARKS
from ckd.networks import NETWORKS
from ckd.recipes import RECIPES


def test_every_recipe_is_as_registered():
    own = [r for r in RECIPES.values() if r.build.__module__.startswith("ckd.recipes.")]
    names = [field.name for field in fields(catalogue.RecipeEntry)]
    expected = [catalogue.RecipeEntry(*(getattr(r, name) for name in names)) for r in own]
    assert sorted(catalogue.recipes(), key=lambda r: r.name) == sorted(expected, key=lambda r: r.name)


def test_every_benchmark_is_as_registered():
    expected = [catalogue.BenchmarkEntry(b.name, b.summary, b.n_experiences) for b in BENCHMARKS.values()]
    assert catalogue.benchmarks() == expected


def test_every_network_is_as_registered():
    assert catalogue.networks() == list(NETWORKS)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('@recipe("mine", paper="P", stores="S")\ndef mine(*, a=-0.5, b=None):\n    "Does."', {"a": -0.5, "b": None}),
        ('@recipe("mine", paper="P", stores="S")\ndef mine(a=1):\n    """Does.\n\n    More."""', {"a": 1}),
        ('@recipe("mine", paper=P, stores="S")\ndef mine(*, a=1 / 3):\n    "Does."', {"a": "1 / 3"}),
    ],
    ids=["keywords", "an argument", "not a literal"],
)
def test_a_recipe_of_ones_own_is_read(tmp_path, monkeypatch, source, expected):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.py").write_text(f"import nothing_of_the_kind\n\n\n{source}\n\n\ndef other(): ...\n")
    monkeypatch.setattr(catalogue, "PACKAGE", tmp_path)
    assert catalogue.recipes() == [catalogue.RecipeEntry("mine", "Does.", "P", "S", defaults=expected)]


@pytest.fixture
def entry_point(monkeypatch):
    """entry_point(name, value, kind) puts one of the group `ckd.KIND` in the place of those that are installed."""

    def act(name, value, kind="recipes"):
        point = importlib.metadata.EntryPoint(name, value, f"ckd.{kind}")
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point] * (group == point.group))

    return act


def test_a_recipe_of_another_package_is_read_without_importing_it(tmp_path, monkeypatch, entry_point):
    (tmp_path / "other_package.py").write_text('import nothing_of_the_kind\n\n\ndef mine(*, a=1):\n    """Does."""\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    entry_point("mine", "other_package:mine")
    assert catalogue.recipes()[-1] == catalogue.RecipeEntry("mine", "Does.", defaults={"a": 1})


@pytest.mark.parametrize(("arguments", "n"), [("n_experiences=7, seed=0", 7), ("n_experiences=None", 0), ("", 0)])
def test_a_benchmark_of_another_package_is_read_without_importing_it(
    tmp_path, monkeypatch, entry_point, arguments, n, capsys
):
    source = f'import nothing_of_the_kind\n\n\ndef rings({arguments}):\n    """Rings."""\n'
    (tmp_path / "other_package.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    entry_point("rings", "other_package:rings", "benchmarks")
    assert catalogue.benchmarks()[-1] == catalogue.BenchmarkEntry("rings", "Rings.", n)
    assert all(entry.name != "rings" for entry in catalogue.recipes())
    assert main(["list"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["rings"]]
    assert line.split()[1:] == ["Rings.", *(str(n) if n else "its own").split()]


@pytest.mark.parametrize("value", ["no_such_package:mine", "no_such_package.inner:mine", "json:mine"])
def test_a_recipe_that_cannot_be_read_is_listed_with_where_it_is(value, entry_point):
    entry_point("mine", value)
    assert catalogue.recipes()[-1] == catalogue.RecipeEntry("mine", f"from {value.partition(':')[0]}")


TYPOS = {
    "run split-digit --recipe er": "unknown benchmark",
    "run split-digits --recipe er+": "unknown recipe",
    "run split-digits --recipe er --network mpl": "unknown network",
    "run split-digits --recipe er --seeds x": "seeds: expected",
    "distil digit": "unknown benchmark",
    "distil digits --recipe kd+": "unknown recipe",
    "distil digits --student mpl": "unknown network",
    "distil digits --teacher mpl": "unknown network",
    "tune split-digits --recipe er+ --search lr=0.1:0.2": "unknown recipe",
}


@pytest.mark.parametrize("command", TYPOS)
def test_what_is_misspelt_is_refused_before_anything_heavy_is_imported(command):
    code = (
        "import sys\n"
        "from ckd.cli import main\n"
        f"status = main({command.split()!r})\n"
        "heavy = {'torch', 'numpy', 'sklearn', 'matplotlib', 'avalanche'} & sys.modules.keys()\n"
        "assert (status, heavy) == (2, set()), heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert TYPOS[command] in done.stderr


@pytest.mark.parametrize("arguments", [["list"], ["--help"], ["run", "--help"], ["--version"]], ids=" ".join)
def test_what_only_prints_imports_nothing_heavy(arguments):
    code = (
        "import sys\n"
        "from ckd.cli import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'torch', 'numpy', 'sklearn', 'matplotlib', 'avalanche'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout
