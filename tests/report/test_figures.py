"""What the figures hold."""

from dataclasses import replace

import numpy as np

import ckd
from ckd.report.figures import figures
from ckd.report.summary import summarise


def test_preferred_classes_keep_their_numbers(made):
    runs = [run for run in ckd.load_results(made).found if run.method == "er"]
    there, wide = (
        np.array([[0.25, 0.5], [0.0, 0.0], [0.75, 0.5]]),
        np.array([[0.5, 0.5], [0, 0], [0.25, 0.5], [0.25, 0]]),
    )
    changed = [replace(run, class_shares=shares) for run, shares in zip(runs, (there, wide), strict=True)]
    drawn = {figure.name: figure for figure in figures(summarise("b", {"er": changed}))}
    points = drawn["preferred-classes"].chart["datasets"]["data"]
    assert [(point["class"], point["ratio"]) for point in points] == [(0, 0.75), (2, 1.0)]
