"""Summaries as tables for other programs and for papers: CSV, Markdown and LaTeX with booktabs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from ckd.report.measures import MEASURES, Measure
from ckd.report.summary import Row, Statistic, Summary

MAIN = ("accuracy", "task_accuracy", "forgetting", "calibration_error", "bytes", "seconds")
"""Measures of the main table; all of them are in the CSV."""


def shown(measure: Measure, statistic: Statistic | None) -> str:
    """A cell: mean ± standard deviation in the measure's unit, an em dash where it is undefined."""
    if statistic is None:
        return "—"
    scale, digits = _scale(measure)
    spread = "" if math.isnan(statistic.sd) or measure.name == "bytes" else f" ± {scale * statistic.sd:.{digits}f}"
    return f"{scale * statistic.mean:.{digits}f}{spread}"


def heading(measure: Measure) -> str:
    """A column's title with its unit."""
    return f"{measure.title} ({measure.unit})" if measure.unit else measure.title


def _scale(measure: Measure) -> tuple[float, int]:
    return {"%": (100.0, 2), "kB": (0.001, 0), "s": (1.0, 1), "1/s": (1.0, 0)}.get(measure.unit, (1.0, 3))


def main_measures(summary: Summary) -> list[Measure]:
    """The measures of the main table; without task-incremental accuracy where every experience has all classes."""
    chosen = [measure for measure in MEASURES if measure.name in MAIN]
    return [measure for measure in chosen if measure.name != "task_accuracy" or not same_classes(summary)]


def same_classes(summary: Summary) -> bool:
    """Whether task-incremental accuracy is the accuracy, as the experiences do not differ in their classes."""
    return all(run.values["accuracy"] == run.values["task_accuracy"] for row in summary.rows for run in row.runs)


def cell(row: Row, measure: Measure) -> str:
    """What a table shows of a measure of a method."""
    if measure.name == "bytes" and row.reference:
        return "all data"
    return shown(measure, row.statistics.get(measure.name))


def as_csv(summary: Summary) -> str:
    """Every measure of every method: mean, standard deviation and number of seeds, unrounded; shares from 0 to 1."""
    import pandas as pd

    rows = []
    for row in summary.rows:
        spec = row.runs[0].result.spec
        cells: dict[str, object] = {"benchmark": summary.benchmark, "method": row.method}
        cells |= {"recipe": spec.recipe, "memory_size": spec.memory_size, "seeds": len(row.runs)}
        for measure in MEASURES:
            found = row.statistics.get(measure.name)
            cells[measure.name] = found.mean if found else None
            cells[f"{measure.name}_sd"] = found.sd if found else None
        cells |= {"p": row.p, "against": summary.against, "published_percent": row.published}
        rows.append(cells)
    return str(pd.DataFrame(rows).to_csv(index=False))


def as_markdown(summary: Summary) -> str:
    """The main table, with what the test says below it."""
    head, *body = _cells(summary, bold=lambda text: f"**{text}**")
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{summary.test}\n"


def as_latex(summary: Summary) -> str:
    """The main table for booktabs."""
    head, *body = ([_latex(cell) for cell in line] for line in _cells(summary, bold=lambda t: f"\\textbf{{{t}}}"))
    lines = [
        r"% needs \usepackage{booktabs}",
        f"% {summary.benchmark}: mean ± standard deviation over seeds. {summary.test}",
        rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        r"\toprule",
        " & ".join(head) + r" \\",
        r"\midrule",
        *(" & ".join(line) + r" \\" for line in body),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def write_tables(summaries: Sequence[Summary], folder: Path) -> list[Path]:
    """Write each summary as CSV, Markdown and LaTeX; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for summary in summaries:
        for suffix, write in ((".csv", as_csv), (".md", as_markdown), (".tex", as_latex)):
            file = folder / f"{file_name(summary.benchmark)}{suffix}"
            file.write_text(write(summary), encoding="utf-8")
            files.append(file)
    return files


def file_name(benchmark: str) -> str:
    """A benchmark's name as the stem of a file."""
    return re.sub(r"[^A-Za-z0-9]+", "-", benchmark).strip("-")


def _cells(summary: Summary, bold: Callable[[str], str]) -> list[list[str]]:
    published = any(row.published is not None for row in summary.rows)
    measures = main_measures(summary)
    head = ["method", "seeds", *map(heading, measures), *(["published (%)"] if published else []), "p"]
    return [head, *(_line(row, measures, published, bold) for row in summary.rows)]


def _line(row: Row, measures: Sequence[Measure], published: bool, bold: Callable[[str], str]) -> list[str]:
    cells = [cell(row, measure) for measure in measures]
    if row.best:
        cells[0] = bold(cells[0])
    known = [] if not published else ["—" if row.published is None else f"{row.published:.2f}"]
    return [row.method, str(len(row.runs)), *cells, *known, "—" if row.p is None else f"{row.p:.3f}"]


def _latex(text: str) -> str:
    for mark, safe in (("%", r"\%"), ("_", r"\_"), ("&", r"\&"), ("#", r"\#"), ("±", r"$\pm$"), ("—", "--")):
        text = text.replace(mark, safe)
    return text
