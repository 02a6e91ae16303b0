"""What networks predict at the end: how sure they are, and which classes they prefer."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from ckd.report.figures.figure import GREY, WIDTH, Figure, Styles, base_chart, bright, finished, marked, plain, pointed
from ckd.report.summary import Summary


def calibration(summary: Summary, styles: Styles, legend: bool) -> Figure | None:
    """A reliability diagram."""
    data = []
    for row in summary.rows:
        found = [run.reliability for run in row.runs if run.reliability is not None]
        if found:
            weight = np.stack([f[:, 2] for f in found])
            total = weight.sum(0)
            with np.errstate(invalid="ignore"):
                confidence, right = (np.nansum(weight * np.stack([f[:, k] for f in found]), 0) / total for k in (0, 1))
            data += [
                {"method": row.method, "confidence": 100 * c, "accuracy": 100 * a, "share": 100 * t / len(found)}
                for c, a, t in zip(confidence, right, total, strict=True)
                if t > 0.002 * len(found)
            ]
    if not data:
        return None
    base = base_chart().encode(
        x=alt.X("confidence:Q", title="confidence (%)", scale=alt.Scale(domain=[0, 100])),
    )
    diagonal = (
        alt.Chart({"values": [{"at": 0}, {"at": 100}]})
        .mark_line(color=GREY, strokeDash=[2, 2], strokeWidth=1)
        .encode(x="at:Q", y="at:Q")
    )
    y = alt.Y("accuracy:Q", title="accuracy (%)", scale=alt.Scale(domain=[0, 100]))
    lines = base.mark_line().encode(y=y, **marked(styles, legend))
    points = base.mark_point(filled=True, opacity=1).encode(
        y=y,
        color=styles.colour(legend=False),
        size=alt.Size("share:Q", legend=None, scale=alt.Scale(range=[8, 160])),
        opacity=bright(),
        tooltip=["method:N", *(alt.Tooltip(f"{n}:Q", format=".1f") for n in ("confidence", "accuracy", "share"))],
    )
    chart = alt.layer(diagonal, lines, points.add_params(pointed())).properties(width=380, height=380)
    return Figure(
        "calibration",
        "Calibration",
        "Accuracy of predictions by their confidence, at the end, in 15 bins; on the dotted line probabilities mean "
        "what they say. Below it: too sure. Area of a point: share of samples; bins under 0.2 % are left out.",
        finished(chart, data, styles),
        {},
    )


def preferred_classes(summary: Summary, styles: Styles, legend: bool) -> Figure | None:
    """Which classes, or experiences, a network prefers at the end."""
    data: list[dict[str, Any]] = []
    per_class = True
    for row in summary.rows:
        found = [s for run in row.runs if "recency_bias" in run.values and (s := run.class_shares) is not None]
        if found:
            ratios = [_ratios(s) for s in found]
            classes = sorted(set().union(*ratios))
            per_class = len(classes) <= 20
            means = {c: float(np.mean([of[c] for of in ratios if c in of])) for c in classes}
            data += [{"method": row.method, "class": c, "ratio": plain(mean)} for c, mean in means.items()]
    if not data:
        return None
    if not per_class:
        return None
    base = base_chart().encode(
        x=alt.X("class:O", title="class, in the order they came", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("method:N", title=None, sort=list(styles.methods), axis=alt.Axis(labelLimit=260)),
        tooltip=["method:N", "class:O", alt.Tooltip("ratio:Q", format=".2f", title="predicted / true")],
    )
    cells = base.mark_rect().encode(
        color=alt.Color(
            "ratio:Q",
            scale=alt.Scale(scheme="purpleorange", domain=[0, 2], clamp=True, reverse=True),
            legend=alt.Legend(title="predicted / true", values=[0, 0.5, 1, 1.5, 2], format=".1f"),
        )
    )
    text = base.mark_text().encode(
        text=alt.Text("ratio:Q", format=".1f"),
        color=alt.condition("datum.ratio < 0.35 || datum.ratio > 1.65", alt.value("white"), alt.value("black")),
    )
    chart = alt.layer(cells, text).properties(width=WIDTH - 140, height=alt.Step(24))
    return Figure(
        "preferred-classes",
        "Which classes are preferred",
        "How often each class is predicted at the end over how often it is there, mean over seeds: 1 is unbiased. "
        "Methods that favour recent classes are dark on the right.",
        finished(chart, data, styles),
        {},
    )


def _ratios(shares: NDArray[np.float64]) -> dict[int, float]:
    """How often each class that is there is predicted over how often it is there, of shares (C, 2)."""
    return {c: float(predicted / true) for c, (predicted, true) in enumerate(shares) if true > 0}
