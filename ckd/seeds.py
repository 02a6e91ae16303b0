"""Seeds as they are written on a command line."""

from __future__ import annotations

import itertools
import re

from ckd.errors import ConfigError

MOST = 10_000
"""Seeds of one command."""


def parse_seeds(text: str) -> tuple[int, ...]:
    """The seeds that `text` names, each once: "5" is 0 to 4, "3-7" is 3 to 7, "0,2,5" and "0,3-5" are lists.

    >>> parse_seeds("3"), parse_seeds("3-5"), parse_seeds("7,0-2")
    ((0, 1, 2), (3, 4, 5), (7, 0, 1, 2))

    Raises:
        ConfigError: anything else, no seed, more than `MOST`, or a range that runs backwards.
    """
    parts = [re.fullmatch(r"([0-9]{1,19})(?:-([0-9]{1,19}))?", part.strip()) for part in text.split(",")]
    ranges = [range(0) if part is None else range(int(part[1]), int(part[2] or part[1]) + 1) for part in parts]
    if len(parts) == 1 and parts[0] is not None and parts[0][2] is None:
        ranges = [range(int(parts[0][1]))]
    if sum(seeds.stop - seeds.start for seeds in ranges) > MOST:
        raise ConfigError("seeds", expected=f"at most {MOST}", received=repr(text), fix="One is written 7-7.")
    if not all(ranges):
        expected = "a number of seeds from 1, a range 3-7 or a list 0,2,5"
        raise ConfigError("seeds", expected=expected, received=repr(text), fix="5 means the seeds 0 to 4.")
    return tuple(dict.fromkeys(itertools.chain(*ranges)))
