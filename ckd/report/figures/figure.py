"""What all figures share: their words, the look of each method, and how the page hides and points at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np

from ckd.report.summary import Row

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F5F3F", "#6A51A3")
"""Of Okabe & Ito, told apart with any kind of colour vision, and two more."""

DASHES = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3))
"""For more methods than colours."""

GREY = "#808080"
WIDTH = 620

IS_SHOWN = "indexof(shown, datum.method) >= 0"
"""Whether the page shows a method."""


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


def base_chart() -> Any:
    """A chart of the figure's data, of the methods that are shown."""
    return alt.Chart(alt.NamedData("data")).transform_filter(IS_SHOWN)


def pointed() -> Any:
    """The method under the pointer."""
    return alt.selection_point(name="pointed", on="pointerover", fields=["method"], nearest=True, clear="pointerout")


def bright() -> Any:
    """Others fade where one is under the pointer, or chosen in the list of methods."""
    return alt.condition(
        "(length(data('pointed_store')) == 0 || indexof(pluck(data('pointed_store'), 'values')[0], datum.method) >= 0)"
        " && (chosen == '' || chosen == datum.method)",
        alt.value(1),
        alt.value(0.15),
    )


def marked(styles: Styles, legend: bool) -> dict[str, Any]:
    """How a method's line looks."""
    return {
        "color": styles.colour(legend=legend),
        "strokeDash": styles.dash(legend=legend),
        "opacity": bright(),
    }


def finished(chart: Any, data: list[dict[str, Any]], styles: Styles | None = None) -> dict[str, Any]:
    """The specification, with its data and the parameters that the page sets: which methods are shown, and chosen."""
    if styles is not None:
        shown, chosen = alt.param(name="shown", value=list(styles.methods)), alt.param(name="chosen", value="")
        chart = chart.add_params(shown, chosen)
    specification: dict[str, Any] = chart.to_dict(validate=False)  # the data come after: Altair copies them many times
    return {**specification, "datasets": {**specification.get("datasets", {}), "data": data}}


def plain(value: float) -> float | None:
    """A number for JSON, which knows no NaN."""
    return None if np.isnan(value) else float(value)
