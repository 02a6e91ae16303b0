"""A suite that prints where a test can read it, and draws no picture."""

import io

import pytest
from rich.console import Console

import ckd.bench.suite
from ckd.bench import run_suite


@pytest.fixture
def pictures(monkeypatch):
    """Names of the pictures that `suite` would have drawn: drawing one takes longer than the runs."""
    names = []
    monkeypatch.setattr(ckd.bench.suite, "plot_forgetting", lambda curves, file, *, title: names.append(file.name))
    return names


@pytest.fixture
def suite(tmp_path, pictures):
    """suite(specs, ...) -> the results and what was printed; the output folder is tmp_path."""

    def act(wanted, **given):
        printed = io.StringIO()
        results = run_suite(wanted, tmp_path, console=Console(file=printed, width=200), **given)
        return results, printed.getvalue()

    return act
