"""Which code makes results: a digest that they carry, so that those of different code are not compared unnoticed."""

from __future__ import annotations

import hashlib
from pathlib import Path

AFTERWARDS = ("report", "cli", "catalogue.py")
"""What only shows results: it can change, and they stay comparable."""


def digest(package: Path) -> str:
    """A few letters that change with any of the `.py` files under `package` that decide results, their names and
    places included.
    """
    found = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        if file.relative_to(package).parts[0] in AFTERWARDS:
            continue
        name, content = file.relative_to(package).as_posix().encode(), file.read_bytes()
        found.update(b"%d %d %b %b" % (len(name), len(content), name, content))
    return found.hexdigest()[:12]


CODE = digest(Path(__file__).parents[1])
"""Of this package, read when this module is imported: a file that is edited later has been imported as it was."""
