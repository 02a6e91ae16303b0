"""The catalogue read from the source: the same as the registries, without what they import."""

import subprocess
import sys

import pytest

from ckd import catalogue
from ckd.bench import NETWORKS
from ckd.data import BENCHMARKS
from ckd.recipes import RECIPES


def test_every_recipe_is_as_registered():
    expected = [catalogue.RecipeEntry(r.name, r.summary, r.paper, r.stores, r.defaults) for r in RECIPES.values()]
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
    assert catalogue.recipes() == [catalogue.RecipeEntry("mine", "Does.", "P", "S", expected)]


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
