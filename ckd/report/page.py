"""A report as one self-contained page: what a paper's results section says, with charts that answer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ckd.report.across import Across
from ckd.report.commands import command
from ckd.report.figures import Figure, Styles, figures
from ckd.report.measures import MEASURES, Measure
from ckd.report.results import Results
from ckd.report.summary import Row, Statistic, Summary
from ckd.report.tables import cell, file_name, heading, main_measures, same_classes

AT_FIRST = 10
"""Methods that are in the figures when the page opens; the others are a click away."""


def page(
    results: Results,
    summaries: Sequence[Summary],
    *,
    title: str,
    folders: Sequence[str | Path],
    across: Across | None = None,
    source: str = "",
) -> str:
    """The page as HTML.

    Args:
        results: what was found.
        summaries: a table for each benchmark.
        title: of the page.
        folders: where the results are from, to be named.
        across: what several benchmarks say together.
        source: where published numbers are from.
    """
    place = files("ckd.report") / "page"
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((place / "report.html").read_text(encoding="utf-8"))
    drawn = {summary.benchmark: figures(summary) for summary in summaries}
    charts = {f"{file_name(name)}/{f.name}": _described(f) for name, found in drawn.items() for f in found}
    if across is not None:
        charts |= {f"across/{f.name}": _described(f) for f in across.figures}
    return template.render(
        title=title,
        version=version("avalanche-ckd"),
        date=datetime.now(UTC).date().isoformat(),
        folders=", ".join(map(str, folders)),
        summary_line=_summary_line(results, summaries),
        warnings=[f"{left.file}: {left.reason}" for left in results.left_out] + list(results.notes),
        pages=[_benchmark(summary, drawn[summary.benchmark], source) for summary in summaries],
        across=None if across is None else across,
        measures=MEASURES,
        css=Markup((place / "report.css").read_text(encoding="utf-8")),
        js=Markup((place / "report.js").read_text(encoding="utf-8")),
        vega=Markup(_vega()),
        figures=Markup(_json(charts)),
    )


def _described(figure: Figure) -> dict[str, Any]:
    """The chart, with words for who cannot see it."""
    return {**figure.chart, "description": f"{figure.title}. {figure.caption}"}


def _vega() -> str:
    """Vega, Vega-Lite and vega-embed, which come with vl-convert."""
    import vl_convert

    bundle = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # all of it; its stub asks for a snippet
    return bundle.replace("</script", "<\\/script")


def _json(value: object) -> str:
    """JSON that can stand in a script element."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _summary_line(results: Results, summaries: Sequence[Summary]) -> str:
    methods = len({row.method for summary in summaries for row in summary.rows})
    runs = len(results.found)
    return (
        f"{len(summaries)} benchmark{'s' * (len(summaries) != 1)}, {methods} method{'s' * (methods != 1)}, "
        f"{runs} run{'s' * (runs != 1)}"
    )


def _benchmark(summary: Summary, drawn: Sequence[Figure], source: str) -> dict[str, Any]:
    styles = Styles.of(summary.rows)
    looks = {m: (c, d) for m, c, d in zip(styles.methods, styles.colours, styles.dashes, strict=True)}
    at_first = [row.method for row in summary.rows if not row.reference][:AT_FIRST]
    at_first += [row.method for row in summary.rows if row.reference]
    hidden = len(summary.rows) - len(at_first)
    reasons: dict[str, dict[str, list[str]]] = {}
    for row in (row for row in summary.rows if not row.reference):
        for name, why in row.undefined.items():
            reasons.setdefault(name, {}).setdefault(why, []).append(row.method)
    rivals = sum(not row.reference for row in summary.rows)
    titles = {measure.name: measure.title for measure in MEASURES}
    return {
        "id": file_name(summary.benchmark),
        "title": summary.benchmark,
        "test": summary.test,
        "bold": any(row.best for row in summary.rows),
        "against": summary.against,
        "published": any(row.published is not None for row in summary.rows),
        "published_source": source or "as given",
        "hidden_note": f"The {len(at_first)} best are in the figures; {hidden} more can be shown." if hidden else "",
        "columns": [heading(measure) for measure in main_measures(summary)],
        "same": "Every experience has all classes, so accuracy is task-incremental accuracy too."
        if same_classes(summary)
        else "",
        "all_columns": [heading(measure) for measure in MEASURES],
        "rows": [_row(row, main_measures(summary), looks[row.method], row.method in at_first) for row in summary.rows],
        "figures": drawn,
        "undefined": [
            f"{titles[name]}: {why} ({', '.join(methods) if len(methods) < rivals else 'all methods'})"
            for name, by_reason in reasons.items()
            for why, methods in by_reason.items()
        ],
    }


def _row(row: Row, measures: Sequence[Measure], look: tuple[str, tuple[int, ...]], in_figures: bool) -> dict[str, Any]:
    spec = row.runs[0].result.spec
    cells = [_cell(row, measure) for measure in measures]
    cells[0]["best"] = row.best
    said = {k: v for k, v in vars(spec).items() if k in ("epochs", "batch_size", "lr", "network", "passes")}
    return {
        "method": row.method,
        "reference": row.reference,
        "colour": look[0],
        "dash": " ".join(map(str, look[1])) if look[1][1] else "none",
        "shown": in_figures,
        "memory": spec.memory_size,
        "n": len(row.runs),
        "cells": cells,
        "all_cells": [_cell(row, measure) for measure in MEASURES],
        "published": "—" if row.published is None else f"{row.published:.2f}",
        "published_value": "" if row.published is None else row.published,
        "verdict": row.verdict or "—",
        "p_value": "" if row.p is None else row.p,
        "command": command(spec, [run.result.spec.seed for run in row.runs]),
        "settings": ", ".join(f"{name} {value}" for name, value in {**said, **spec.settings}.items()),
        "source": spec.source,
        "made": _made(row),
    }


def _cell(row: Row, measure: Measure) -> dict[str, Any]:
    found: Statistic | None = row.statistics.get(measure.name)
    finite = found is not None and math.isfinite(found.mean)
    title = row.undefined.get(measure.name, "")
    if found is not None and found.n < len(row.runs):
        title = f"{found.n} of {len(row.runs)} seeds"
    return {
        "text": cell(row, measure),
        "value": found.mean if found is not None and finite else "",
        "title": title,
        "best": False,
    }


def _made(row: Row) -> str:
    """Versions and machines, those that differ side by side."""
    by: dict[str, set[str]] = {}
    for run in row.runs:
        for name, value in run.result.made.items():
            by.setdefault(name, set()).add(str(value))
    return ", ".join(f"{name} {' and '.join(sorted(values))}" for name, values in by.items())


def write_figures(summaries: Sequence[Summary], folder: Path, across: Across | None = None) -> list[Path]:
    """Write every figure as PNG and SVG; returns the files.

    Where there are more methods than a figure can hold apart, the best are in it.
    """
    import vl_convert

    folder.mkdir(parents=True, exist_ok=True)
    groups: Mapping[str, Sequence[Figure]] = {
        file_name(summary.benchmark): figures(_best(summary), legend=True) for summary in summaries
    }
    if across is not None:
        groups = {**groups, "across": across.figures}
    drawn = {
        f"{stem}-{figure.name}": vl_convert.vegalite_to_svg(json.dumps(figure.chart))
        for stem, found in groups.items()
        for figure in found
    }
    if across is not None and across.diagram:
        drawn["across-average-ranks"] = str(across.diagram)
    written = []
    for name, svg in drawn.items():
        for suffix, content in ((".svg", svg.encode()), (".png", vl_convert.svg_to_png(svg, scale=2))):
            file = folder / f"{name}{suffix}"
            file.write_bytes(content)
            written.append(file)
    return written


def _best(summary: Summary) -> Summary:
    rivals = [row for row in summary.rows if not row.reference][:AT_FIRST]
    rows = tuple(row for row in summary.rows if row.reference or row in rivals)
    return Summary(summary.benchmark, rows, summary.against, summary.test)
