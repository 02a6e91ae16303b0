"""Prints the lowest versions that pyproject.toml promises, its extras included, as constraints for pip."""

import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "pyproject.toml"


def lowest(project: dict) -> list[str]:
    """`name==version` of every requirement of a `[project]` table, but of itself."""
    extras = project.get("optional-dependencies", {}).values()
    found = []
    for requirement in [*project["dependencies"], *(one for extra in extras for one in extra)]:
        if match := re.fullmatch(r"([\w.-]+)(?:\[.*\])? *[>=]= *([\w.]+)", requirement):
            found.append("==".join(match.groups()))
        elif not re.match(rf"{project['name']}\b", requirement):
            raise ValueError(f"no lowest version in {requirement!r}")
    return sorted(set(found))


if __name__ == "__main__":
    sys.stdout.write("\n".join(lowest(tomllib.loads(PROJECT.read_text())["project"])) + "\n")
