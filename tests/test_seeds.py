"""Seeds on a command line: a number, a range, a list."""

import pytest

from ckd.errors import ConfigError
from ckd.seeds import parse_seeds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", (0,)),
        ("5", (0, 1, 2, 3, 4)),
        ("3-7", (3, 4, 5, 6, 7)),
        ("7-7", (7,)),
        ("0,2,5", (0, 2, 5)),
        ("5, 2", (5, 2)),
        ("0,3-5", (0, 3, 4, 5)),
        ("2,0-3", (2, 0, 1, 3)),
    ],
)
def test_seeds_are_a_number_a_range_or_a_list(text, expected):
    assert parse_seeds(text) == expected


@pytest.mark.parametrize("text", ["", "0", "-1", "7-3", "1-", "-", "1,,2", "1,", "1.5", "a", "3-7-9", "1,7-3", "٣"])
def test_anything_else_is_refused(text):
    with pytest.raises(ConfigError, match=r"expected a number of seeds from 1, a range 3-7 or a list 0,2,5") as error:
        parse_seeds(text)
    assert error.value.received == repr(text)
