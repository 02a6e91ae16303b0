"""A suite that prints where a test can read it."""

import io

import pytest
from rich.console import Console

from ckd.bench import run_suite


@pytest.fixture
def suite(tmp_path):
    """suite(specs, ...) -> the results and what was printed; the output folder is tmp_path."""

    def act(wanted, **given):
        printed = io.StringIO()
        results = run_suite(wanted, tmp_path, console=Console(file=printed, width=200), **given)
        return results, printed.getvalue()

    return act
