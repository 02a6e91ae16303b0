"""One thing against another, a point for each method: stability and plasticity, accuracy and its price."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from ckd.report.figures.figure import GREY, WIDTH, Figure, Styles, base_chart, bright, finished, pointed
from ckd.report.summary import Summary


def stability_and_plasticity(summary: Summary, styles: Styles, legend: bool) -> Figure | None:
    """What is learnt against what is kept."""
    data: list[dict[str, Any]] = []
    for row in summary.rows:
        learning, forgetting = row.statistics.get("learning_accuracy"), row.statistics.get("forgetting")
        if learning and forgetting:
            data.append(
                {
                    "method": row.method,
                    "learning": 100 * learning.mean,
                    "forgetting": 100 * forgetting.mean,
                    "accuracy": 100 * row.accuracy,
                }
            )
    for point in data:  # no other is as good in both
        point["front"] = not any(
            o["learning"] > point["learning"] and o["forgetting"] < point["forgetting"] for o in data
        )
    if len(data) < 2:
        return None
    base = base_chart().encode(
        x=alt.X("learning:Q", title="learning accuracy (%): plasticity", scale=alt.Scale(zero=False, padding=25)),
        y=alt.Y(
            "forgetting:Q",
            title="forgetting (%): less is stability",
            scale=alt.Scale(reverse=True, padding=15, nice=False),
        ),
    )
    return Figure(
        "stability-and-plasticity",
        "Stability against plasticity",
        "Right: learns new experiences well. Up: keeps old ones. Means over seeds.",
        finished(_labelled(base, styles, legend, ["learning", "forgetting", "accuracy"]), data, styles),
        {},
    )


def accuracy_and_bytes(summary: Summary, styles: Styles, legend: bool) -> Figure | None:
    """Accuracy against the state that a method keeps."""
    return _trade(
        summary,
        styles,
        legend,
        measure="bytes",
        scale=0.001,
        axis="state beside the model (kB)",
        name="accuracy-and-bytes",
        title="Accuracy against bytes",
        caption="State kept beside the model: memory, teachers, curvature. The line joins methods that no other beats "
        "in both (Pareto front). Methods that see all data are left out.",
    )


def accuracy_and_seconds(summary: Summary, styles: Styles, legend: bool) -> Figure | None:
    """Accuracy against the time of a run."""
    return _trade(
        summary,
        styles,
        legend,
        measure="seconds",
        scale=1.0,
        axis="seconds a run",
        name="accuracy-and-seconds",
        title="Accuracy against seconds",
        caption="Wall time of training and evaluation, on the machine of the run. The line joins methods that no other "
        "beats in both (Pareto front). Methods that see all data are left out.",
    )


def _labelled(base: Any, styles: Styles, legend: bool, numbers: Sequence[str]) -> Any:
    points = base.mark_point(filled=True, size=90).encode(
        color=styles.colour(legend=False),
        opacity=bright(),
        tooltip=["method:N", *(alt.Tooltip(f"{name}:Q", format=",.1f") for name in numbers)],
    )
    names = base.mark_text(align="left", dx=7, dy=-7, fontSize=10, limit=190).encode(
        text="method:N", color=styles.colour(legend=False), opacity=bright()
    )
    names = names.transform_filter(
        "length(shown) <= 12 || datum.front || chosen == datum.method"
    )  # more would cover each other
    return alt.layer(points.add_params(pointed()), names).properties(width=WIDTH, height=360)


def _trade(
    summary: Summary,
    styles: Styles,
    legend: bool,
    *,
    measure: str,
    scale: float,
    axis: str,
    name: str,
    title: str,
    caption: str,
) -> Figure | None:
    rows = [row for row in summary.rows if measure in row.statistics and not row.reference]
    if len(rows) < 2:
        return None
    costs = {row.method: scale * row.statistics[measure].mean for row in rows}
    front: set[str] = set()
    best = -np.inf
    for row in sorted(rows, key=lambda row: (costs[row.method], -row.accuracy)):
        if row.accuracy > best:
            best = row.accuracy
            front.add(row.method)
    data: list[dict[str, Any]] = [
        {
            "method": row.method,
            "cost": costs[row.method],
            "accuracy": 100 * row.accuracy,
            "front": row.method in front,
        }
        for row in rows
    ]
    kind: Any = "symlog" if min(costs.values()) <= 0 else "log"
    x = alt.X("cost:Q", title=axis, scale=alt.Scale(type=kind, padding=25, nice=False), axis=alt.Axis(format=",~r"))
    y = alt.Y("accuracy:Q", title="accuracy (%)", scale=alt.Scale(zero=False, padding=15))
    base = base_chart().encode(x=x, y=y)
    line = (
        base.transform_filter("datum.front")
        .mark_line(interpolate="step-after", color=GREY, strokeWidth=1)
        .encode(order="cost:Q")
    )
    chart = alt.layer(line, _labelled(base, styles, legend, ["cost", "accuracy"])).properties(width=WIDTH, height=360)
    return Figure(name, title, caption, finished(chart, data, styles), {})
