"""The figures of a report, as Vega-Lite charts by Altair: the same for the page and for files."""

from __future__ import annotations

from collections.abc import Callable

from ckd.report.figures.curves import accuracy_matrix, experiences, forgetting_curves
from ckd.report.figures.figure import WIDTH, Figure, Styles
from ckd.report.figures.predicted import calibration, preferred_classes
from ckd.report.figures.trade_offs import accuracy_and_bytes, accuracy_and_seconds, stability_and_plasticity
from ckd.report.summary import Summary

__all__ = ["WIDTH", "Figure", "Styles", "figures"]


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
