"""Every error says what was expected, what arrived and what probably mends it."""

import copy
import inspect
import pickle

import pytest

import ckd
from ckd import errors
from ckd.errors import CkdError, UnknownNameError

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
BUILT_IN = {
    "ConfigError": ValueError,
    "DataError": ValueError,
    "LoaderConflictError": RuntimeError,
    "ModelError": TypeError,
    "NonFiniteLossError": ArithmeticError,
    "UnknownNameError": ValueError,
}
EVERY = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def made(kind):
    return kind("temperature", expected="a number above 0", received=-1, fix="Use 2 for LwF.")


@EVERY
def test_every_class_of_the_file_is_a_ckd_error(kind):
    assert issubclass(kind, CkdError)
    assert issubclass(kind, Exception)
    assert kind.__doc__


@pytest.mark.parametrize(("name", "built_in"), BUILT_IN.items(), ids=BUILT_IN)
def test_errors_are_also_the_built_in_kind_that_one_would_catch(name, built_in):
    assert issubclass(getattr(errors, name), built_in)


def test_every_error_but_the_base_has_a_built_in_kind():
    assert {kind.__name__ for kind in KINDS} == {*BUILT_IN, "CkdError"}


def test_the_base_is_a_public_name():
    assert ckd.CkdError is CkdError


@EVERY
def test_message_says_what_was_expected_what_arrived_and_the_fix(kind):
    assert str(made(kind)) == "temperature: expected a number above 0; received -1. Use 2 for LwF."


@EVERY
@pytest.mark.parametrize("copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy, copy.copy])
def test_every_error_survives_a_process_boundary(kind, copied):
    error = made(kind)
    again = copied(error)
    assert type(again) is kind
    assert str(again) == str(error)
    assert (again.what, again.expected, again.received, again.fix) == (
        "temperature",
        "a number above 0",
        -1,
        "Use 2 for LwF.",
    )


RECIPES = ["naive", "der", "der++", "er-ace", "lwf"]


def test_an_unknown_name_lists_the_known_ones_in_order():
    error = UnknownNameError.of("recipe", "xyz", RECIPES)
    assert str(error).startswith("unknown recipe: expected one of der, der++, er-ace, lwf, naive; received 'xyz'.")


@pytest.mark.parametrize(("name", "near"), [("nave", "'naive'"), ("erace", "'er-ace'"), ("lwff", "'lwf'")])
def test_an_unknown_name_that_is_nearly_right_is_put_right(name, near):
    assert UnknownNameError.of("recipe", name, RECIPES).fix.startswith(f"Did you mean {near}")


def test_several_near_names_are_offered_nearest_first():
    assert UnknownNameError.of("recipe", "der+", RECIPES).fix.startswith("Did you mean 'der++' or 'der'")


def test_a_name_near_none_offers_no_guess():
    assert UnknownNameError.of("recipe", "xyz", RECIPES).fix == "Choose one of the expected names."


def test_known_names_may_come_from_any_iterable():
    assert "'naive'" in UnknownNameError.of("recipe", "nave", iter(RECIPES)).fix


def test_an_unknown_name_pickles():
    error = UnknownNameError.of("recipe", "nave", RECIPES)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is UnknownNameError
    assert str(again) == str(error)
