"""Draw the front page's forgetting curves from the results of `make demo`.

make demo && .venv/bin/python docs/forgetting.py runs/demo
"""

import sys
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from ckd import load_results

STATIC = Path(__file__).parent / "_static"
COLOURS = {"light": ("#1f2328", "#0b5d74"), "dark": ("#d7dbe0", "#7fd0e6")}
OTHERS = {"der++": "#b0651d", "er": "#7a5ea8", "lwf": "#888888", "naive": "#888888"}
STYLES = {"lwf": ":", "naive": "--"}


def draw(folder: str, theme: str) -> None:
    """Average accuracy over the experiences so far, a line for each method."""
    text, accent = COLOURS[theme]
    rows = load_results(folder).experiences
    rows = rows[(rows.experience <= rows.trained) & (rows.trained > 0)]
    curves = 100 * rows.groupby(["method", "seed", "trained"]).accuracy.mean().groupby(["method", "trained"]).mean()
    coloured = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor")
    settings = {"svg.hashsalt": "ckd", **dict.fromkeys(coloured, text)}
    with mpl.rc_context(settings):
        figure = Figure(figsize=(5.4, 3.0), layout="constrained")
        axes = figure.subplots()
        for method in sorted(curves.index.get_level_values(0).unique(), key=lambda m: -curves[m].iloc[-1]):
            curve, name = curves[method], method.split(",")[0]
            colour = OTHERS.get(name, accent)
            axes.plot(curve.index, curve, color=colour, linestyle=STYLES.get(name, "-"), marker="o", markersize=3.5)
            place = {"lwf": 4, "naive": -4, "self-distillation": 4, "der++": -3}.get(name, 0)
            axes.annotate(
                name,
                (curve.index[-1], curve.iloc[-1] + place),
                (8, 0),
                textcoords="offset points",
                color=colour,
                va="center",
            )
        axes.set(xlabel="experiences learnt", ylabel="accuracy on all of them (%)", ylim=(0, 103), xlim=(0.9, 6.6))
        axes.set_xticks([1, 2, 3, 4, 5])
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(STATIC / f"forgetting-{theme}.svg", transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    for one in COLOURS:
        draw(sys.argv[1], one)
