"""Names as people write them stand for the registered ones, where that is clear."""

import pytest

from ckd.names import known_as
from ckd.recipes import RECIPES, get


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("derpp", "der++"),
        ("der_pp", "der++"),
        ("DER++", "der++"),
        ("der_plus_plus", "der++"),
        ("er_ace", "er-ace"),
        ("meaner", "mean-er"),
        ("Mean-ER", "mean-er"),
        ("iCaRL", "icarl"),
        ("XDER", "x-der"),
    ],
)
def test_a_recipe_is_found_however_it_is_written(written, name):
    assert get(written) is RECIPES[name]


def test_no_two_recipes_are_the_same_name_written_otherwise():
    assert [known_as(name.upper(), RECIPES) for name in RECIPES] == list(RECIPES)


@pytest.mark.parametrize("name", ["der+", "derp", "er-", "", "meanerr"])
def test_what_stands_for_nothing_is_none(name):
    assert known_as(name, [n for n in RECIPES if n != "er"]) is None


def test_what_stands_for_two_is_none_unless_it_is_one_of_them():
    assert known_as("AB", ["a-b", "a_b"]) is None
    assert known_as("a_b", ["a-b", "a_b"]) == "a_b"
