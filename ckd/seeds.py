"""Seeds as they are written on a command line."""

from __future__ import annotations

import re

from ckd.errors import ConfigError


def parse_seeds(text: str) -> tuple[int, ...]:
    """The seeds that `text` names, each once: "5" is 0 to 4, "3-7" is 3 to 7, "0,2,5" and "0,3-5" are lists.

    >>> parse_seeds("3"), parse_seeds("3-5"), parse_seeds("7,0-2")
    ((0, 1, 2), (3, 4, 5), (7, 0, 1, 2))

    Raises:
        ConfigError: anything else, no seed, or a range that runs backwards.
    """
    parts = [re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", part.strip()) for part in text.split(",")]
    seeds: list[int] = []
    if len(parts) == 1 and parts[0] is not None and parts[0][2] is None:
        seeds.extend(range(int(parts[0][1])))
    else:
        for part in parts:
            one = [] if part is None else range(int(part[1]), int(part[2] or part[1]) + 1)
            if not one:
                seeds.clear()
                break
            seeds.extend(one)
    if not seeds:
        expected = "a number of seeds from 1, a range 3-7 or a list 0,2,5"
        raise ConfigError("seeds", expected=expected, received=repr(text), fix="5 means the seeds 0 to 4.")
    return tuple(dict.fromkeys(seeds))
