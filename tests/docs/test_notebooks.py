"""The notebooks do what a reader sees in them: every cell runs, and prints and draws what is stored below it."""

import contextlib
import io
import json

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt
from pages import DOCS, alike

NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))


def cells(notebook):
    """Of each cell of code: its lines, what it printed, whether it drew, and whether its numbers are of the machine."""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            assert {out["output_type"] for out in cell["outputs"]} <= {"stream", "display_data"}, cell["source"]
            printed = "".join("".join(out["text"]) for out in cell["outputs"] if out["output_type"] == "stream")
            drawn = any("image/png" in out.get("data", {}) for out in cell["outputs"])
            yield "".join(cell["source"]), printed, drawn, "varies" in cell["metadata"].get("tags", [])


def test_there_are_two():
    assert len(NOTEBOOKS) == 2


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_the_notebook_does_what_it_shows(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    names = {"__name__": "__main__"}
    with mpl.rc_context({"backend": "agg"}):
        for code, expected, drawn, varies in cells(notebook):
            shown.clear()
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(code.replace("%pip install", "raise ImportError #"), notebook.name, "exec"), names)
            assert varies or alike(printed.getvalue(), expected), f"{code}\n--- printed\n{printed.getvalue()}"
            assert bool(shown) == drawn, code
        plt.close("all")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_the_first_cell_installs_ckd_where_it_is_missing(notebook):
    first, *_ = cells(notebook)
    assert 'find_spec("ckd") is None' in first[0]
    assert "%pip install" in first[0]
