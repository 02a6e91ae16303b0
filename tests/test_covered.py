"""What `make coverage` says, and when it fails."""

import json

import pytest
from covered import main


def summary(lines, n_lines, branches, n_branches):
    counts = {"covered_lines": lines, "num_statements": n_lines}
    return {**counts, "covered_branches": branches, "num_branches": n_branches}


@pytest.mark.parametrize(
    ("totals", "status", "says"),
    [
        (summary(98, 100, 95, 100), 0, "lines: 98.00 %"),
        (summary(979, 1000, 100, 100), 1, "lines: 97.90 %"),
        (summary(1000, 1000, 94, 100), 1, "branches: 94.00 %"),
        (summary(10, 10, 0, 0), 0, "branches: 100.00 %"),
    ],
)
def test_lines_and_branches_are_each_enough(tmp_path, capsys, totals, status, says):
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"totals": totals, "files": {}}))
    assert main(report) == status
    assert says in capsys.readouterr().out


def test_files_with_what_never_ran_are_listed(tmp_path, capsys):
    files = {
        "b.py": {"missing_lines": [3, 4], "missing_branches": [[2, 3], [5, -1]]},
        "a.py": {"missing_lines": [], "missing_branches": []},
    }
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"totals": summary(1, 1, 1, 1), "files": files}))
    main(report)
    assert capsys.readouterr().out.splitlines()[0] == "b.py: 3, 4, 2->3, 5->exit"
