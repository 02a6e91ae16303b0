"""The picture of forgetting: a PNG, and the right numbers in it."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from ckd.evaluation import AccuracyMatrix, plot_forgetting

FIRST_SEED = AccuracyMatrix([[0.8, 0.2, 0.1], [0.9, 0.7, 0.3], [0.5, 0.6, 0.95]])
SECOND_SEED = AccuracyMatrix([[0.6, 0.2, 0.1], [0.7, 0.7, 0.3], [0.3, 0.6, 0.75]])
JOINT = AccuracyMatrix([[0.9, 0.8, 1.0]])

RUNS = {
    "two seeds and joint": {"der++": [FIRST_SEED, SECOND_SEED], "joint": [JOINT, JOINT]},
    "one seed": {"naive": [FIRST_SEED]},
    "joint alone": {"joint": [JOINT]},
}


@pytest.fixture
def drawn(monkeypatch):
    """Draws runs and returns the left and right axes instead of writing a file."""
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **kwargs: figures.append(figure))

    def draw(runs):
        plot_forgetting(runs, "unwritten.png", title="forgetting")
        return figures[-1].axes

    return draw


@pytest.mark.parametrize("runs", RUNS.values(), ids=RUNS)
def test_the_file_is_a_png_with_something_in_it(runs, tmp_path):
    file = tmp_path / "forgetting.png"
    plot_forgetting(runs, file, title="Permuted MNIST, 200 samples in memory")
    assert file.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=float)
    assert pixels.shape[0] > 400
    assert pixels.shape[1] > 2 * pixels.shape[0]
    assert len(np.unique(pixels @ [1, 2**8, 2**16])) > 50
    for half in np.array_split(pixels, 2, axis=1):
        assert half.std() > 5


def test_the_name_may_be_a_string(tmp_path):
    plot_forgetting(RUNS["one seed"], str(tmp_path / "forgetting.png"), title="")
    assert (tmp_path / "forgetting.png").stat().st_size > 0


def test_lines_are_means_over_seeds_in_percent(drawn):
    left, right = drawn(RUNS["two seeds and joint"])
    first = np.array([0.8, (0.9 + 0.7) / 2, (0.5 + 0.6 + 0.95) / 3])
    second = np.array([0.6, (0.7 + 0.7) / 2, (0.3 + 0.6 + 0.75) / 3])
    np.testing.assert_allclose(left.lines[0].get_xydata().T, [[1, 2, 3], 50 * (first + second)])
    np.testing.assert_allclose(right.lines[0].get_xydata().T, [[1, 2, 3], [70, 80, 40]])


def test_bands_are_one_standard_deviation_wide_as_in_the_table(drawn):
    _, right = drawn(RUNS["two seeds and joint"])  # 80 and 60, 90 and 70, 50 and 30: sample deviation 10 · √2
    corners = {tuple(corner) for corner in right.collections[0].get_paths()[0].vertices.round(6)}
    sd = round(10 * 2**0.5, 6)
    assert corners == {(x, round(mean + sign * sd, 6)) for x, mean in ((1, 70), (2, 80), (3, 40)) for sign in (1, -1)}


def test_a_single_seed_has_a_band_without_width(drawn):
    _, right = drawn(RUNS["one seed"])
    corners = {tuple(corner) for corner in right.collections[0].get_paths()[0].vertices.round(6)}
    assert corners == {(1, 80), (2, 90), (3, 50)}


def test_joint_training_is_a_dashed_level_on_the_left_alone(drawn):
    left, right = drawn(RUNS["joint alone"])
    (level,) = left.lines
    assert level.get_linestyle() == "--"
    np.testing.assert_allclose(level.get_ydata(), [90, 90])
    assert not right.lines


def test_a_single_experience_is_a_single_point(drawn):
    left, right = drawn({"naive": [AccuracyMatrix([[0.9]])]})
    assert [axes.lines[0].get_xydata().tolist() for axes in (left, right)] == [[[1, 90]], [[1, 90]]]


def test_the_legend_names_each_method_with_its_accuracy_at_the_end(drawn):
    left, _ = drawn({"naive": [FIRST_SEED], "joint": [JOINT]})
    (legend,) = left.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["naive (68.3)", "joint (90.0)"]


def test_a_method_has_one_colour_on_both_sides(drawn):
    left, right = drawn({"joint": [JOINT], "naive": [FIRST_SEED], "er": [SECOND_SEED]})
    colours = [to_hex(line.get_color()) for line in left.lines]
    assert len(set(colours)) == 3
    assert [to_hex(line.get_color()) for line in right.lines] == colours[1:]
