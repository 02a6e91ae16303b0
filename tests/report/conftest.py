"""Real runs that the report's tests share: made once, read only."""

import shutil

import pytest

from ckd.bench import plan, run, save

RECIPES = ("naive", "er", "joint")


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A folder with three methods on split digits, two seeds each."""
    folder = tmp_path_factory.mktemp("results")
    for recipe in RECIPES:
        for seed in range(2):
            save(run(plan("split-digits", recipe, seed=seed, memory_size=50, epochs=1)), folder)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A copy of it that a test may spoil."""
    return shutil.copytree(made, tmp_path / "results")


@pytest.fixture
def result_files():
    """result_files(folder, recipe) -> the result.json of a recipe's runs."""

    def find(folder, recipe=""):
        return sorted(file for file in folder.rglob("result.json") if file.parent.parent.name.startswith(recipe))

    return find
