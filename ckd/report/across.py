"""What several benchmarks say together: interquartile means, and average ranks with their critical difference."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
from markupsafe import Markup

from ckd.evaluation.statistics import average_ranks, interquartile_interval, interquartile_mean
from ckd.report.figures import WIDTH, Figure
from ckd.report.summary import Row, Summary


@dataclass(frozen=True)
class Across:
    """Figures over all benchmarks.

    Attributes:
        note: which methods and benchmarks they are of.
        figures: charts.
        diagram: the critical-difference diagram as SVG; empty where ranks cannot be tested.
        diagram_caption: what it shows.
    """

    note: str
    figures: tuple[Figure, ...]
    diagram: Markup
    diagram_caption: str


def across(summaries: Sequence[Summary]) -> Across | None:
    """Compare the methods that every benchmark has; None for fewer than two benchmarks or methods in common.

    Methods are the same where recipe and memory size are. Of those with other settings the best stands for all.
    """
    by_benchmark: list[dict[str, Row]] = []
    several: list[str] = []
    for summary in summaries:
        best: dict[str, Row] = {}
        for row in (row for row in summary.rows if not row.reference):  # the best first
            key = _key(row.runs[0].result.spec)
            several += [key] if key in best else []
            best.setdefault(key, row)
        by_benchmark.append(best)
    if len(by_benchmark) < 2:
        return None
    common = [key for key in by_benchmark[0] if all(key in rows for rows in by_benchmark)]
    if len(common) < 2:
        return None
    data = []
    for key in common:
        scores = [[run.values["accuracy"] for run in rows[key].runs] for rows in by_benchmark]
        low, high = interquartile_interval(scores)
        mean = interquartile_mean(np.concatenate([np.asarray(s) for s in scores]))
        data.append({"method": key, "mean": 100 * mean, "low": 100 * low, "high": 100 * high})
    means = np.array([[rows[key].accuracy for key in common] for rows in by_benchmark])
    diagram, caption = _diagram(common, means)
    names = ", ".join(summary.benchmark for summary in summaries)
    note = f"{len(common)} methods that all of {len(summaries)} benchmarks have: {names}."
    if chosen := [key for key in common if key in several]:
        note += f" Of a method with several settings on a benchmark the best is here: {', '.join(chosen)}."
    return Across(note, (_means(data),), diagram, caption)


def _key(spec: Any) -> str:
    return f"{spec.recipe}, memory {spec.memory_size}" if spec.memory_size else str(spec.recipe)


def _means(data: list[dict[str, Any]]) -> Figure:
    order = [point["method"] for point in sorted(data, key=lambda point: -point["mean"])]
    base = alt.Chart(alt.Data(values=data)).encode(  # type: ignore[no-untyped-call]
        y=alt.Y("method:N", sort=order, title=None, axis=alt.Axis(labelLimit=260)),
        tooltip=["method:N", *(alt.Tooltip(f"{name}:Q", format=".2f") for name in ("mean", "low", "high"))],
    )
    x = alt.X("low:Q", title="interquartile mean of accuracy (%)", scale=alt.Scale(zero=False))
    chart = alt.layer(
        base.mark_rule(strokeWidth=6, opacity=0.35, color="#0072B2").encode(x=x, x2="high:Q"),
        base.mark_point(filled=True, size=70, opacity=1, color="#0072B2").encode(x="mean:Q"),
    ).properties(width=WIDTH - 140, height=alt.Step(24))
    return Figure(
        "interquartile-means",
        "Interquartile means",
        "Mean of the middle half of all runs over benchmarks and seeds, with 95 % intervals of a bootstrap that draws "
        "seeds within each benchmark (Agarwal et al. 2021).",
        chart.to_dict(),
        {},
    )


def _diagram(methods: Sequence[str], means: Any) -> tuple[Markup, str]:
    """Average ranks, methods joined that Nemenyi's test does not tell apart (Demšar 2006)."""
    benchmarks = len(means)
    if len(methods) < 3 or benchmarks < 3:
        return Markup(""), ""
    import pandas as pd
    import scikit_posthocs as posthocs
    from matplotlib.figure import Figure as Canvas
    from scipy.stats import friedmanchisquare

    ranks = dict(zip(methods, average_ranks(means), strict=True))
    p = float(friedmanchisquare(*means.T).pvalue)
    apart = posthocs.posthoc_nemenyi_friedman(pd.DataFrame(means, columns=list(methods)))
    canvas = Canvas(figsize=(8, 1 + 0.22 * len(methods)), layout="constrained")
    posthocs.critical_difference_diagram(ranks, apart, ax=canvas.subplots())
    written = io.StringIO()
    canvas.savefig(written, format="svg")
    svg = written.getvalue()
    words = "differ" if p < 0.05 else "are not shown to differ"
    told = "p < 0.001" if p < 0.001 else f"p {p:.3f}"
    return (
        Markup(svg[svg.index("<svg") :]),
        f"1 is the best rank. Bars join methods that Nemenyi's test does not tell apart. Over {benchmarks} benchmarks "
        f"the ranks {words} (Friedman's test, {told}).",
    )
