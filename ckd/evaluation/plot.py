"""Results as a picture: forgetting curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ckd.evaluation.accuracy_matrix import AccuracyMatrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEGEND = "average at the end (%)"
Curves = Mapping[str, Sequence[AccuracyMatrix]]


def plot_forgetting(runs: Curves, file: str | Path, *, title: str) -> None:
    """Write a PNG of how much is remembered as experiences are learnt.

    Left: accuracy on all that was taught so far. Right: accuracy on the first experience alone. Lines are means over
    seeds, bands one standard deviation; joint training, which has no sequence, is a dashed level.

    Args:
        runs: for each method, by the name that is shown, the matrices of its seeds.
        file: the PNG to write.
        title: of the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, max(4.8, 1 + 0.24 * len(runs))), layout="constrained")
    left, right = figure.subplots(1, 2)
    figure.suptitle(title, fontsize=12)
    for i, (name, matrices) in enumerate(runs.items()):
        style = {"color": f"C{i % 10}", "linestyle": ("-", "--", ":")[i // 10 % 3]}
        if matrices[0].sequential:
            _band(left, [m.average_accuracies() for m in matrices], name, style)
            _band(right, [m.values[:, 0] for m in matrices], name, style)
        else:
            level = 100 * float(np.mean([m.average_accuracy() for m in matrices]))
            left.axhline(level, color="black", linestyle="--", linewidth=1, label=f"{name} ({level:.1f})")
    _label(left, "Everything taught so far", "average accuracy (%)")
    _label(right, "The first experience alone", "accuracy (%)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", frameon=False, title=LEGEND)
    figure.savefig(file, dpi=150)


def _band(axes: Axes, curves: list[NDArray[np.float64]], name: str, style: dict[str, str]) -> None:
    stacked = 100 * np.stack(curves)
    x, mean = np.arange(1, stacked.shape[1] + 1), stacked.mean(0)
    sd = stacked.std(0, ddof=1) if len(stacked) > 1 else np.zeros_like(mean)
    axes.plot(x, mean, **style, marker="o", markersize=3, label=f"{name} ({mean[-1]:.1f})")  # type: ignore[arg-type]
    axes.fill_between(x, mean - sd, mean + sd, color=style["color"], alpha=0.15, linewidth=0)


def _label(axes: Axes, title: str, y: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, fontsize=10)
    axes.set_xlabel("experiences learnt")
    axes.set_ylabel(y)
    axes.set_ylim(0, 102)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    spines: Any = axes.spines
    spines[["top", "right"]].set_visible(False)
