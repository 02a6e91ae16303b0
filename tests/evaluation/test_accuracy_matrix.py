"""The accuracy matrix against a table worked out by hand."""

import json

import numpy as np
import pytest

from ckd.errors import CkdError, DataError
from ckd.evaluation import AccuracyMatrix, Within

NAN = float("nan")
ROWS = [
    [0.8, 0.2, 0.1],
    [0.9, 0.7, 0.3],
    [0.5, 0.6, 0.95],
]
INITIAL = [0.1, 0.15, 0.05]

BY_HAND = {
    "average_accuracy": (0.5 + 0.6 + 0.95) / 3,
    "average_anytime_accuracy": (0.8 + (0.9 + 0.7) / 2 + (0.5 + 0.6 + 0.95) / 3) / 3,
    "learning_accuracy": (0.8 + 0.7 + 0.95) / 3,
    "forgetting": ((0.9 - 0.5) + (0.7 - 0.6)) / 2,  # from the best ever, not from the diagonal
    "backward_transfer": ((0.5 - 0.8) + (0.6 - 0.7)) / 2,
    "forward_transfer": ((0.2 - 0.15) + (0.3 - 0.05)) / 2,
}
OF_A_SEQUENCE = [name for name in BY_HAND if name != "average_accuracy"]


@pytest.mark.parametrize("metric", BY_HAND)
def test_metric_is_the_one_worked_out_by_hand(metric):
    assert getattr(AccuracyMatrix(ROWS, INITIAL), metric)() == pytest.approx(BY_HAND[metric])


def test_curve_is_the_mean_over_the_experiences_so_far():
    expected = [0.8, (0.9 + 0.7) / 2, (0.5 + 0.6 + 0.95) / 3]
    np.testing.assert_allclose(AccuracyMatrix(ROWS).average_accuracies(), expected)


@pytest.mark.parametrize("metric", BY_HAND)
def test_metrics_are_plain_floats(metric):
    assert type(getattr(AccuracyMatrix(ROWS, INITIAL), metric)()) is float


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("average_accuracy", 0.9),
        ("average_anytime_accuracy", 0.9),
        ("learning_accuracy", 0.9),
        ("forgetting", 0),
        ("backward_transfer", 0),
        ("forward_transfer", 0),
    ],
)
def test_a_single_experience_has_nothing_to_forget_or_transfer(metric, expected):
    assert getattr(AccuracyMatrix([[0.9]], [0.1]), metric)() == expected


def test_joint_training_has_an_accuracy():
    joint = AccuracyMatrix([[0.5, 0.7, 0.9]])
    assert not joint.sequential
    assert joint.average_accuracy() == pytest.approx(0.7)


@pytest.mark.parametrize("metric", [*OF_A_SEQUENCE, "average_accuracies"])
def test_joint_training_has_no_sequence(metric):
    with pytest.raises(DataError, match=r"a row for each experience; received shape \(1, 3\)"):
        getattr(AccuracyMatrix([[0.5, 0.7, 0.9]], INITIAL), metric)()


@pytest.mark.parametrize(("rows", "sequential"), [(ROWS, True), ([[0.9]], True), (ROWS[:2], False), (ROWS[:1], False)])
def test_sequential_means_a_row_for_each_experience(rows, sequential):
    assert AccuracyMatrix(rows).sequential is sequential


def test_forward_transfer_needs_the_untrained_model():
    with pytest.raises(DataError, match="Evaluate once before training"):
        AccuracyMatrix(ROWS).forward_transfer()


# what was not evaluated --------------------------------------------------------------------------------------------

LEARNED_ONLY = [[0.8, NAN, NAN], [0.9, 0.7, NAN], [0.5, 0.6, 0.95]]


@pytest.mark.parametrize(
    "metric",
    [
        "average_accuracy",
        "average_anytime_accuracy",
        "learning_accuracy",
        "backward_transfer",
        "forgetting",
    ],
)
def test_metrics_of_the_past_need_no_evaluation_of_the_future(metric):
    assert getattr(AccuracyMatrix(LEARNED_ONLY), metric)() == pytest.approx(BY_HAND[metric])


@pytest.mark.parametrize("metric", ["average_accuracy", "forgetting", "backward_transfer"])
def test_a_missing_final_accuracy_makes_the_metric_unknown(metric):
    assert np.isnan(getattr(AccuracyMatrix([[0.8, 0.2], [NAN, 0.7]]), metric)())


# storage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("initial", [None, INITIAL, [0.1, NAN, 1 / 3]], ids=["none", "some", "nan"])
@pytest.mark.parametrize("rows", [ROWS, LEARNED_ONLY, ROWS[:1]], ids=["full", "nan", "joint"])
def test_json_round_trip_is_exact(rows, initial):
    matrix = AccuracyMatrix(rows, initial)
    again = AccuracyMatrix.from_json(matrix.to_json())
    np.testing.assert_array_equal(again.values, np.array(rows))  # NaN equals NaN here
    assert again.values.dtype == np.float64
    if initial is None:
        assert again.initial is None
    else:
        np.testing.assert_array_equal(again.initial, np.array(initial))


def test_json_keeps_every_bit_of_random_numbers():
    rows = np.random.default_rng(0).random((20, 20))
    assert AccuracyMatrix.from_json(AccuracyMatrix(rows).to_json()).values.tobytes() == rows.tobytes()


def test_json_is_the_strict_kind_that_knows_no_nan():
    def refuse(constant):
        raise AssertionError(constant)

    found = json.loads(AccuracyMatrix([[0.5, NAN]], [NAN, 1]).to_json(), parse_constant=refuse)
    assert found == {"rows": [[0.5, None]], "initial": [None, 1]}


def test_the_matrix_is_a_copy_of_what_was_given():
    rows, initial = np.array(ROWS), np.array(INITIAL)
    matrix = AccuracyMatrix(rows, initial)
    rows[:], initial[:] = 0, 0
    assert matrix.values.tolist() == ROWS
    assert matrix.initial.tolist() == INITIAL


# what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "initial"),
    [
        pytest.param([[0.5, 1.01]], None, id="above one"),
        pytest.param([[-0.01, 0.5]], None, id="below zero"),
        pytest.param([[float("inf"), 0.5]], None, id="infinite"),
        pytest.param([0.5, 0.6], None, id="one dimension"),
        pytest.param([[[0.5]]], None, id="three dimensions"),
        pytest.param([[0.5], [0.6]], None, id="more rows than columns"),
        pytest.param([], None, id="empty"),
        pytest.param([[]], None, id="no columns"),
        pytest.param(ROWS, [0.1, 0.1], id="too few initial"),
        pytest.param(ROWS, [INITIAL], id="initial of two dimensions"),
        pytest.param(np.empty((0, 3)), None, id="no rows"),
        pytest.param([[0.1, 0.2], [0.3]], None, id="ragged"),
        pytest.param([["good", "bad"]], None, id="words"),
        pytest.param(ROWS, [0.1, 7, 0.1], id="initial above one"),
    ],
)
def test_what_is_no_table_of_accuracies_is_refused(rows, initial):
    with pytest.raises(DataError, match="accuracy matrix: expected") as caught:
        AccuracyMatrix(rows, initial)
    assert isinstance(caught.value, CkdError)


def test_minimum_and_worst_case_accuracy_by_hand():
    matrix = AccuracyMatrix([[0.9, 0.0, 0.0], [0.5, 0.8, 0.0], [0.7, 0.6, 1.0]])
    assert matrix.minimum_accuracy() == pytest.approx((0.5 + 0.6) / 2)
    assert matrix.worst_case_accuracy() == pytest.approx(1.0 / 3 + 2 / 3 * 0.55)
    with pytest.raises(DataError, match="two experiences"):
        AccuracyMatrix([[0.9]]).minimum_accuracy()


WITHIN = [
    Within(0, 5, (0.2,)),  # experience 0 under way: nothing is old yet
    Within(1, 5, (0.4, 0.1)),
    Within(1, 10, (0.6, 0.3)),
    Within(2, 5, (0.35, 0.5, 0.2)),
    Within(2, 10, (0.8, 0.7, 0.9)),
]


def test_the_lowest_accuracy_may_be_within_an_experience():
    matrix = AccuracyMatrix([[0.9, 0.0, 0.0], [0.5, 0.8, 0.0], [0.7, 0.6, 1.0]])
    assert matrix.minimum_accuracy(WITHIN) == pytest.approx((0.35 + 0.5) / 2)
    assert matrix.worst_case_accuracy(WITHIN) == pytest.approx(1.0 / 3 + 2 / 3 * 0.425)


def test_the_stability_gap_by_hand():
    matrix = AccuracyMatrix([[0.9, 0.0, 0.0], [0.5, 0.8, 0.0], [0.7, 0.6, 1.0]])
    first, second = 0.9 - 0.4, ((0.5 - 0.35) + (0.8 - 0.5)) / 2
    assert matrix.stability_gap(WITHIN[:-1]) == pytest.approx((first + second) / 2)
    at_the_end = ((0.5 - 0.7) + (0.8 - 0.6)) / 2  # the lowest is the evaluation after the experience
    assert matrix.stability_gap([*WITHIN[:3], WITHIN[4]]) == pytest.approx((first + at_the_end) / 2)


@pytest.mark.parametrize(
    ("rows", "within", "said"),
    [
        (ROWS, [], "--evaluate-every"),
        ([[0.9]], [Within(0, 1, (0.5,))], "two experiences"),
        (ROWS, [Within(1, 1, (0.5,))], "evaluation within"),
        (ROWS, [Within(3, 1, (0.5,) * 4)], "evaluation within"),
        (ROWS[:1], [Within(0, 1, (0.5,) * 3)], "joint training"),
    ],
)
def test_a_stability_gap_that_is_undefined_says_why(rows, within, said):
    with pytest.raises(DataError, match=said):
        AccuracyMatrix(rows).stability_gap(within)


def test_intransigence_by_hand():
    matrix = AccuracyMatrix([[0.9, 0.0], [0.5, 0.8]])
    assert matrix.intransigence([0.95, 0.7]) == pytest.approx((0.05 - 0.1) / 2)
