"""The figures of a report, as Vega-Lite charts by Altair: the same for the page and for files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from ckd.errors import CkdError
from ckd.evaluation import Predictions
from ckd.evaluation.calibration import reliability
from ckd.evaluation.recency import class_shares
from ckd.report.results import Run
from ckd.report.summary import Row, Summary

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F5F3F", "#6A51A3")
"""Of Okabe & Ito, told apart with any kind of colour vision, and two more."""

DASHES = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3))
"""For more methods than colours."""

GREY = "#808080"
PERCENT = alt.Scale(zero=False, domainMax=100)
WIDTH = 620
SO_FAR = "all experiences so far"


@dataclass(frozen=True)
class Figure:
    """A chart with its words.

    Attributes:
        name: of the file, and in the page.
        title, caption: the caption says what is shown, of what, and what to see in it.
        chart: a Vega-Lite specification.
        choices: what a reader may choose, by the name of the chart's parameter: (label, options).
    """

    name: str
    title: str
    caption: str
    chart: dict[str, Any]
    choices: Mapping[str, tuple[str, Sequence[str]]]


@dataclass(frozen=True)
class Styles:
    """A colour and a dash for each method, the same in all figures of a benchmark."""

    methods: tuple[str, ...]
    colours: tuple[str, ...]
    dashes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Styles:
        """For the methods of a table, in its order; references are grey."""
        colours, dashes = [], []
        rivals = references = 0
        for row in rows:
            if row.reference:
                colours.append(GREY)
                dashes.append(DASHES[(1 + references) % 4])
                references += 1
            else:
                colours.append(COLOURS[rivals % len(COLOURS)])
                dashes.append(DASHES[rivals // len(COLOURS) % len(DASHES)])
                rivals += 1
        return cls(tuple(row.method for row in rows), tuple(colours), tuple(dashes))

    def colour(self, *, legend: bool) -> Any:
        """The encoding of colour."""
        return alt.Color(
            "method:N",
            scale=alt.Scale(domain=list(self.methods), range=list(self.colours)),
            legend=alt.Legend(title=None, labelLimit=400, symbolOpacity=1, symbolType="stroke", symbolStrokeWidth=2)
            if legend
            else None,
        )

    def dash(self, *, legend: bool) -> Any:
        """The encoding of dashes."""
        return alt.StrokeDash(
            "method:N",
            scale=alt.Scale(domain=list(self.methods), range=[list(d) for d in self.dashes]),
            legend=alt.Legend(title=None, labelLimit=400) if legend else None,
        )


def figures(summary: Summary, *, legend: bool = False) -> list[Figure]:
    """Every figure that the runs of a benchmark allow.

    Args:
        summary: the benchmark's methods.
        legend: draw a legend into the charts, for files; the page has one of its own.
    """
    styles = Styles.of(summary.rows)
    makers: tuple[Callable[[Summary, Styles, bool], Figure | None], ...] = (
        forgetting_curves,
        experiences,
        accuracy_matrix,
        stability_and_plasticity,
        accuracy_and_bytes,
        accuracy_and_seconds,
        calibration,
        preferred_classes,
    )
    return [figure for make in makers if (figure := make(summary, styles, legend)) is not None]


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
    base = _base().transform_filter("datum.view == view").encode(x=_learnt(length))
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
        _finished(chart.properties(width=WIDTH, height=330), data, styles),
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
    base = _base().encode(x=_learnt(max(point["learnt"] for point in data)))
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
        _finished(chart, data, styles),
        {},
    )


def accuracy_matrix(summary: Summary, styles: Styles, legend: bool) -> Figure | None:
    """The accuracy matrix of a method as a heat map."""
    data = []
    for row in summary.rows:
        matrices = [run.result.matrix.values for run in _sequential(row)]
        for (i, j), value in np.ndenumerate(100 * np.mean(matrices, axis=0)) if matrices else ():
            data.append({"method": row.method, "learnt": i + 1, "experience": j + 1, "accuracy": _plain(value)})
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
        _finished(chart, data),
        {"method_shown": ("Method", names)},
    )


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
    base = _base().encode(
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
        _finished(_labelled(base, styles, legend, ["learning", "forgetting", "accuracy"]), data, styles),
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


def calibration(summary: Summary, styles: Styles, legend: bool) -> Figure | None:
    """A reliability diagram."""
    data = []
    for row in summary.rows:
        found = [reliability(predictions) for run in row.runs if (predictions := _predictions(run)) is not None]
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
    base = _base().encode(
        x=alt.X("confidence:Q", title="confidence (%)", scale=alt.Scale(domain=[0, 100])),
    )
    diagonal = (
        alt.Chart({"values": [{"at": 0}, {"at": 100}]})
        .mark_line(color=GREY, strokeDash=[2, 2], strokeWidth=1)
        .encode(x="at:Q", y="at:Q")
    )
    y = alt.Y("accuracy:Q", title="accuracy (%)", scale=alt.Scale(domain=[0, 100]))
    lines = base.mark_line().encode(y=y, **_marked(styles, legend))
    points = base.mark_point(filled=True, opacity=1).encode(
        y=y,
        color=styles.colour(legend=False),
        size=alt.Size("share:Q", legend=None, scale=alt.Scale(range=[8, 160])),
        opacity=_bright(),
        tooltip=["method:N", *(alt.Tooltip(f"{n}:Q", format=".1f") for n in ("confidence", "accuracy", "share"))],
    )
    chart = alt.layer(diagonal, lines, points.add_params(_pointed())).properties(width=380, height=380)
    return Figure(
        "calibration",
        "Calibration",
        "Accuracy of predictions by their confidence, at the end, in 15 bins; on the dotted line probabilities mean "
        "what they say. Below it: too sure. Area of a point: share of samples; bins under 0.2 % are left out.",
        _finished(chart, data, styles),
        {},
    )


def preferred_classes(summary: Summary, styles: Styles, legend: bool) -> Figure | None:
    """Which classes, or experiences, a network prefers at the end."""
    data: list[dict[str, Any]] = []
    per_class = True
    for row in summary.rows:
        found = [p for run in row.runs if "recency_bias" in run.values and (p := _predictions(run)) is not None]
        if found:
            shares = np.mean([_ratios(p) for p in found], axis=0)
            per_class = len(shares) <= 20
            data += [{"method": row.method, "class": c, "ratio": _plain(s)} for c, s in enumerate(shares)]
    if not data:
        return None
    if not per_class:
        return None
    base = _base().encode(
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
        _finished(chart, data, styles),
        {},
    )


# what they share ---------------------------------------------------------------------------------------------------

_IS_SHOWN = "indexof(shown, datum.method) >= 0"


def _sequential(row: Row) -> list[Run]:
    return [run for run in row.runs if run.result.matrix.sequential]


def _predictions(run: Run) -> Predictions | None:
    try:
        return run.predictions()
    except CkdError:  # named among the undefined measures
        return None


def _ratios(found: Predictions) -> NDArray[np.float64]:
    shares = class_shares(found)
    present = shares[:, 1] > 0
    ratios: NDArray[np.float64] = shares[present, 0] / shares[present, 1]
    return ratios


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _points(method: str, view: str, curves: NDArray[np.float64], first: int) -> list[dict[str, Any]]:
    """Mean and spread of curves (seeds, length), in percent; the first is after `first` experiences."""
    mean = 100 * curves.mean(0)
    sd = 100 * curves.std(0, ddof=1) if len(curves) > 1 else np.zeros_like(mean)
    return [
        {
            "method": method,
            "view": view,
            "learnt": first + k,
            "accuracy": _plain(m),
            "low": _plain(max(m - s, 0)),
            "high": _plain(min(m + s, 100)),
            "seeds": len(curves),
        }
        for k, (m, s) in enumerate(zip(mean, sd, strict=True))
    ]


def _base() -> Any:
    """A chart of the figure's data, of the methods that are shown."""
    return alt.Chart(alt.NamedData("data")).transform_filter(_IS_SHOWN)


def _learnt(length: int) -> Any:
    return alt.X(
        "learnt:Q",
        title="experiences learnt",
        scale=alt.Scale(domain=[1, max(length, 2)], nice=False),
        axis=alt.Axis(values=list(range(1, length + 1, 1 + length // 25)), format="d"),
    )


def _pointed() -> Any:
    """The method under the pointer."""
    return alt.selection_point(name="pointed", on="pointerover", fields=["method"], nearest=True, clear="pointerout")


def _bright() -> Any:
    """Others fade where one is under the pointer, or chosen in the list of methods."""
    return alt.condition(
        "(length(data('pointed_store')) == 0 || indexof(pluck(data('pointed_store'), 'values')[0], datum.method) >= 0)"
        " && (chosen == '' || chosen == datum.method)",
        alt.value(1),
        alt.value(0.15),
    )


def _marked(styles: Styles, legend: bool) -> dict[str, Any]:
    return {
        "color": styles.colour(legend=legend),
        "strokeDash": styles.dash(legend=legend),
        "opacity": _bright(),
    }


def _lines(base: Any, styles: Styles, legend: bool, title: str, *, points: bool) -> list[Any]:
    y = alt.Y("accuracy:Q", title=title, scale=PERCENT)
    lines = base.mark_line(strokeWidth=1.8).encode(y=y, **_marked(styles, legend))
    tooltip = ["method:N", alt.Tooltip("learnt:Q", title="experiences learnt"), alt.Tooltip("accuracy:Q", format=".2f")]
    dots = base.mark_point(filled=True, size=28 if points else 12).encode(
        y=y, color=styles.colour(legend=False), opacity=_bright(), tooltip=[*tooltip, "seeds:Q"]
    )
    return [lines, dots.add_params(_pointed())]


def _labelled(base: Any, styles: Styles, legend: bool, numbers: Sequence[str]) -> Any:
    points = base.mark_point(filled=True, size=90).encode(
        color=styles.colour(legend=False),
        opacity=_bright(),
        tooltip=["method:N", *(alt.Tooltip(f"{name}:Q", format=",.1f") for name in numbers)],
    )
    names = base.mark_text(align="left", dx=7, dy=-7, fontSize=10, limit=190).encode(
        text="method:N", color=styles.colour(legend=False), opacity=_bright()
    )
    names = names.transform_filter(
        "length(shown) <= 12 || datum.front || chosen == datum.method"
    )  # more would cover each other
    return alt.layer(points.add_params(_pointed()), names).properties(width=WIDTH, height=360)


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
    base = _base().encode(x=x, y=y)
    line = (
        base.transform_filter("datum.front")
        .mark_line(interpolate="step-after", color=GREY, strokeWidth=1)
        .encode(order="cost:Q")
    )
    chart = alt.layer(line, _labelled(base, styles, legend, ["cost", "accuracy"])).properties(width=WIDTH, height=360)
    return Figure(name, title, caption, _finished(chart, data, styles), {})


def _finished(chart: Any, data: list[dict[str, Any]], styles: Styles | None = None) -> dict[str, Any]:
    """The specification, with its data and the parameters that the page sets: which methods are shown, and chosen."""
    if styles is not None:
        shown, chosen = alt.param(name="shown", value=list(styles.methods)), alt.param(name="chosen", value="")
        chart = chart.add_params(shown, chosen)
    specification: dict[str, Any] = chart.to_dict(validate=False)  # the data come after: Altair copies them many times
    return {**specification, "datasets": {**specification.get("datasets", {}), "data": data}}
