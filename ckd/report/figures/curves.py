"""Accuracy as experiences are learnt: curves, and the whole matrix."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from ckd.report.figures.figure import WIDTH, Figure, Styles, base_chart, bright, finished, marked, plain, pointed
from ckd.report.results import Run
from ckd.report.summary import Row, Summary

PERCENT = alt.Scale(zero=False, domainMax=100)
SO_FAR = "all experiences so far"


def forgetting_curves(summary: Summary, styles: Styles, legend: bool) -> Figure | None:
    """Accuracy as experiences are learnt: on all so far, or on one of them."""
    data = []
    for row in summary.rows:
        curves = [(run.result.matrix.average_accuracies(), run.result.matrix.values) for run in _sequential(row)]
        if curves:
            data += _points(row.method, SO_FAR, np.stack([average for average, _ in curves]), 1)
            for j in range(len(curves[0][1])):
                data += _points(row.method, f"experience {j + 1}", np.stack([v[j:, j] for _, v in curves]), j + 1)
    if not data:
        return None
    views = list(dict.fromkeys(point["view"] for point in data))
    length = max(point["learnt"] for point in data)
    for row in summary.rows:
        if row.reference and not _sequential(row):
            r = np.stack([run.result.matrix.values[-1] for run in row.runs])
            for view in views:
                level = r.mean(1) if view == SO_FAR else r[:, views.index(view) - 1]
                data += _points(row.method, view, np.repeat(level[:, None], length, axis=1), 1)
    view = alt.param(name="view", value=SO_FAR)
    base = base_chart().transform_filter("datum.view == view").encode(x=_learnt(length))
    band = base.mark_area(opacity=0.15).encode(
        y=alt.Y("low:Q", title="accuracy (%)", scale=PERCENT),
        y2="high:Q",
        color=styles.colour(legend=legend),
    )
    chart = alt.layer(band, *_lines(base, styles, legend, "accuracy (%)", points=True)).add_params(view)
    return Figure(
        "forgetting-curves",
        "Forgetting curves",
        "Test accuracy as experiences are learnt; bands are one standard deviation over seeds."
        + (" Grey: methods that see all data." if any(row.reference for row in summary.rows) else ""),
        finished(chart.properties(width=WIDTH, height=330), data, styles),
        {"view": ("Accuracy on", views)},
    )


def experiences(summary: Summary, styles: Styles, legend: bool) -> Figure | None:
    """Each experience's curve in a chart of its own."""
    data = []
    for row in summary.rows:
        curves = [run.result.matrix.values for run in _sequential(row)]
        for j in range(len(curves[0]) if curves else 0):
            points = _points(row.method, "", np.stack([v[j:, j] for v in curves]), j + 1)
            data += [{**point, "experience": j + 1} for point in points]
    length = max((point["learnt"] for point in data), default=0)
    for row in summary.rows:
        if row.reference and not _sequential(row):
            for j in range(length):
                level = np.stack([run.result.matrix.values[-1, j] for run in row.runs])
                points = _points(row.method, "", np.repeat(level[:, None], length, axis=1), 1)
                data += [{**point, "experience": j + 1} for point in points]
    if not data or max(point["experience"] for point in data) < 2:
        return None
    base = base_chart().encode(x=_learnt(max(point["learnt"] for point in data)))
    header = alt.Header(labelExpr="'experience ' + datum.value")
    chart = (
        alt.layer(*_lines(base, styles, legend, "accuracy (%)", points=False))
        .properties(width=WIDTH / 5, height=90)
        .facet(alt.Facet("experience:O", title=None, header=header), columns=4)
    )
    return Figure(
        "each-experience",
        "Each experience",
        "Test accuracy on each experience from when it was learnt to the end, mean over seeds.",
        finished(chart, data, styles),
        {},
    )


def accuracy_matrix(summary: Summary, styles: Styles, legend: bool) -> Figure | None:
    """The accuracy matrix of a method as a heat map."""
    data = []
    for row in summary.rows:
        matrices = [run.result.matrix.values for run in _sequential(row)]
        for (i, j), value in np.ndenumerate(100 * np.mean(matrices, axis=0)) if matrices else ():
            data.append({"method": row.method, "learnt": i + 1, "experience": j + 1, "accuracy": plain(value)})
    if not data:
        return None
    names = list(dict.fromkeys(cell["method"] for cell in data))
    size = max(cell["learnt"] for cell in data)
    base = (
        alt.Chart(alt.NamedData("data"))
        .transform_filter("datum.method == method_shown")
        .encode(
            x=alt.X("experience:O", title="tested on experience", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("learnt:O", title="experiences learnt"),
            tooltip=["method:N", "learnt:O", "experience:O", alt.Tooltip("accuracy:Q", format=".2f")],
        )
    )
    cells = base.mark_rect().encode(
        color=alt.Color(
            "accuracy:Q",
            scale=alt.Scale(scheme="blues", domain=[0, 100]),
            legend=alt.Legend(title="accuracy (%)"),
        )
    )
    layers = [cells]
    if size <= 12:
        layers.append(
            base.mark_text().encode(
                text=alt.Text("accuracy:Q", format=".0f"),
                color=alt.condition("datum.accuracy > 55", alt.value("white"), alt.value("black")),
            )
        )
    side = max(26, min(60, 420 // size)) * size
    title = alt.Title(alt.expr("method_shown"), fontSize=12, fontWeight="normal", anchor="start")
    chart = alt.layer(*layers).properties(width=side, height=side, title=title)
    chart = chart.add_params(alt.param(name="method_shown", value=names[0]))
    return Figure(
        "accuracy-matrix",
        "Accuracy matrix",
        "Row i, column j: test accuracy on experience j after experience i was learnt, mean over seeds. Above the "
        "diagonal: not learnt yet.",
        finished(chart, data),
        {"method_shown": ("Method", names)},
    )


def _sequential(row: Row) -> list[Run]:
    return [run for run in row.runs if run.result.matrix.sequential]


def _points(method: str, view: str, curves: NDArray[np.float64], first: int) -> list[dict[str, Any]]:
    """Mean and spread of curves (seeds, length), in percent; the first is after `first` experiences."""
    mean = 100 * curves.mean(0)
    sd = 100 * curves.std(0, ddof=1) if len(curves) > 1 else np.zeros_like(mean)
    return [
        {
            "method": method,
            "view": view,
            "learnt": first + k,
            "accuracy": plain(m),
            "low": plain(max(m - s, 0)),
            "high": plain(min(m + s, 100)),
            "seeds": len(curves),
        }
        for k, (m, s) in enumerate(zip(mean, sd, strict=True))
    ]


def _learnt(length: int) -> Any:
    return alt.X(
        "learnt:Q",
        title="experiences learnt",
        scale=alt.Scale(domain=[1, max(length, 2)], nice=False),
        axis=alt.Axis(values=list(range(1, length + 1, 1 + length // 25)), format="d"),
    )


def _lines(base: Any, styles: Styles, legend: bool, title: str, *, points: bool) -> list[Any]:
    y = alt.Y("accuracy:Q", title=title, scale=PERCENT)
    lines = base.mark_line(strokeWidth=1.8).encode(y=y, **marked(styles, legend))
    tooltip = ["method:N", alt.Tooltip("learnt:Q", title="experiences learnt"), alt.Tooltip("accuracy:Q", format=".2f")]
    dots = base.mark_point(filled=True, size=28 if points else 12).encode(
        y=y, color=styles.colour(legend=False), opacity=bright(), tooltip=[*tooltip, "seeds:Q"]
    )
    return [lines, dots.add_params(pointed())]
