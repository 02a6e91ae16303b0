"""Tables as CSV, Markdown and LaTeX: the same numbers, readable by others."""

import csv
import io
import re
import shutil
import subprocess

import numpy as np
import pytest

import ckd
from ckd.report.summary import summarise
from ckd.report.tables import as_csv, as_latex, as_markdown, file_name


@pytest.fixture
def summary(made):
    ((name, methods),) = ckd.load_results(made).benchmarks().items()
    return summarise(name, methods, published={("er", 50): 87.5})


def test_the_csv_holds_every_number_unrounded(summary, made):
    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(as_csv(summary)))}
    runs = ckd.load_results(made).runs
    for method, row in rows.items():
        own = runs[runs.method == method]
        assert float(row["accuracy"]) == pytest.approx(own.accuracy.mean(), rel=1e-12)
        assert float(row["accuracy_sd"]) == pytest.approx(own.accuracy.std(ddof=1), rel=1e-9)
    assert rows["joint"]["forgetting"] == ""
    assert rows["er"]["published_percent"] == "87.5"


def test_markdown_and_latex_show_the_same_numbers(summary):
    markdown, latex = as_markdown(summary), as_latex(summary)
    for row in summary.rows:
        values = [100 * run.values["accuracy"] for run in row.runs]
        shown = f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"
        line = next(line for line in markdown.splitlines() if line.startswith(f"| {row.method} "))
        assert shown in line
        assert shown.replace("±", r"$\pm$") in latex
    assert "all data" in markdown
    assert "87.50" in markdown
    assert len({line.count("|") for line in markdown.splitlines() if line.startswith("|")}) == 1
    assert {"\\toprule", "\\midrule", "\\bottomrule"} <= set(latex.splitlines())
    assert len({line.count("&") for line in latex.splitlines() if "&" in line}) == 1
    body = "\n".join(line for line in latex.splitlines() if not line.startswith("%"))
    assert not re.search(r"(?<!\\)[%_]", body)
    assert summary.test in latex


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_latex_compiles(summary, tmp_path):
    text = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n" + as_latex(summary) + "\\end{document}\n"
    (tmp_path / "t.tex").write_text(text)
    subprocess.run(["pdflatex", "-interaction=nonstopmode", "t.tex"], cwd=tmp_path, check=True, capture_output=True)


def test_names_of_files_hold_no_odd_characters():
    assert file_name("split-cifar10, 5 experiences, validation data") == "split-cifar10-5-experiences-validation-data"
