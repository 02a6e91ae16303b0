"""Which code makes results: a digest that they carry, so that those of different code are not compared unnoticed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import ckd


def digest(package: Path) -> str:
    """A few letters that change with any of the `.py` files under `package`, their names and places included."""
    found = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        name, content = file.relative_to(package).as_posix().encode(), file.read_bytes()
        found.update(b"%d %d %b %b" % (len(name), len(content), name, content))
    return found.hexdigest()[:12]


CODE = digest(Path(ckd.__file__).parent)
"""Of this package, read when this module is imported: a file that is edited later has been imported as it was."""
