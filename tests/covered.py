"""Prints what a report of coverage.py says about lines and about branches; exits with 1 if either are too few."""

import json
import sys
from pathlib import Path

LEAST = {"lines": 98.0, "branches": 95.0}
"""In percent."""

COUNTS = {"lines": ("covered_lines", "num_statements"), "branches": ("covered_branches", "num_branches")}
"""Their names in the report: what ran, and all."""


def missed(files: dict) -> list[str]:
    """A line for each file with something that never ran: its name, and the lines and branches."""
    rows = []
    for name, file in sorted(files.items()):
        branches = [f"{start}->{end if end > 0 else 'exit'}" for start, end in file["missing_branches"]]
        if missing := [*map(str, file["missing_lines"]), *branches]:
            rows.append(f"{name}: {', '.join(missing)}")
    return rows


def main(report: Path) -> int:
    """Print the report; 1 if lines or branches are below the least."""
    found = json.loads(report.read_text())
    rows, enough = missed(found["files"]), True
    for what, least in LEAST.items():
        ran, n = (found["totals"][name] for name in COUNTS[what])
        percent = 100 * ran / n if n else 100.0
        rows.append(f"{what}: {percent:.2f} %, of at least {least:g} %")
        enough &= percent >= least
    sys.stdout.write("\n".join(rows) + "\n")
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
