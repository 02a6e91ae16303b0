"""What is measured of a run: each measure with its formula, its source and why it may be undefined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ckd.bench.result import Result
from ckd.errors import CkdError, DataError
from ckd.evaluation import Predictions
from ckd.evaluation.calibration import brier_score, expected_calibration_error, negative_log_likelihood
from ckd.evaluation.recency import agreement_with_past_self, recency_bias

Asked = Callable[[], Predictions]
"""Gives the predictions of a run, or raises a DataError that says why there are none."""


@dataclass(frozen=True)
class Measure:
    """A number of a run.

    Attributes:
        name: column of the data frame.
        title: as tables show it.
        formula, source: what it is and who defined it.
        of: computes it from a result and what gives the run's predictions; raises a CkdError where it is undefined.
        unit: "%" for shares (kept from 0 to 1), "" for plain numbers, else the unit.
        better: "higher", "lower", "zero", or "" where neither is.
    """

    name: str
    title: str
    formula: str
    source: str
    of: Callable[[Result, Asked], float]
    unit: str = "%"
    better: str = "higher"


REFERENCES = ("cumulative", "joint")
"""Recipes that see all data, which the others cannot pass; the better reference first."""


def _bytes(result: Result, _: Asked) -> float:
    if result.spec.recipe in REFERENCES:
        raise DataError("state", expected="a method that keeps some", received="all data", fix="It is a bound.")
    return float(sum(result.memory_bytes.values()))


def _steps_a_second(result: Result, _: Asked) -> float:
    if not result.steps:
        raise DataError("steps", expected="how many there were", received="none recorded", fix="Run again.")
    return float(result.steps / result.seconds["training"])


def _without_reference(result: Result, _: Asked) -> float:
    """Computed where all results are at hand; alone it has no reference."""
    raise DataError(
        "intransigence",
        expected="a run of cumulative or joint with the same seed and network beside it",
        received="none",
        fix="Add one: --recipe joint.",
    )


LOPEZ_PAZ = "Lopez-Paz & Ranzato 2017, arXiv:1706.08840"
CHAUDHRY = "Chaudhry et al. 2018, arXiv:1801.10112"
DE_LANGE = "De Lange et al. 2023, arXiv:2205.13452"

MEASURES = (
    Measure("accuracy", "accuracy", "mean over j of R[T, j]", LOPEZ_PAZ, lambda r, _: r.matrix.average_accuracy()),
    Measure(
        "task_accuracy",
        "task-incremental accuracy",
        "the same, choosing among the classes of the tested experience alone",
        "van de Ven & Tolias 2019, arXiv:1904.07734",
        lambda r, _: r.task_matrix.average_accuracy(),
    ),
    Measure(
        "forgetting",
        "forgetting",
        "mean over j < T of max over i < T of R[i, j], minus R[T, j]",
        CHAUDHRY,
        lambda r, _: r.matrix.forgetting(),
        better="lower",
    ),
    Measure(
        "learning_accuracy",
        "learning accuracy",
        "mean over j of R[j, j]: each experience just after it was learnt",
        "Riemer et al. 2019, arXiv:1810.11910",
        lambda r, _: r.matrix.learning_accuracy(),
    ),
    Measure(
        "intransigence",
        "intransigence",
        "mean over j of a*[j] - R[j, j]; a* is cumulative training after j, else joint training, with the same seed",
        CHAUDHRY,
        _without_reference,
        better="lower",
    ),
    Measure(
        "backward_transfer",
        "backward transfer",
        "mean over j < T of R[T, j] - R[j, j]",
        LOPEZ_PAZ,
        lambda r, _: r.matrix.backward_transfer(),
    ),
    Measure(
        "forward_transfer",
        "forward transfer",
        "mean over j > 1 of R[j-1, j] minus the untrained network's",
        LOPEZ_PAZ,
        lambda r, _: r.matrix.forward_transfer(),
    ),
    Measure(
        "anytime_accuracy",
        "anytime accuracy",
        "mean over i of the mean of R[i, 1..i]",
        "Caccia et al. 2020, arXiv:2003.05856",
        lambda r, _: r.matrix.average_anytime_accuracy(),
    ),
    Measure(
        "minimum_accuracy",
        "minimum accuracy",
        "mean over j < T of the lowest accuracy on j in any evaluation after j was learnt: R[i, j] for i > j, "
        "and those within experiences where the run made them (--evaluate-every)",
        DE_LANGE,
        lambda r, _: r.matrix.minimum_accuracy(r.within),
    ),
    Measure(
        "worst_case_accuracy",
        "worst-case accuracy",
        "R[T, T] / T + (1 - 1/T) · minimum accuracy",
        DE_LANGE,
        lambda r, _: r.matrix.worst_case_accuracy(r.within),
    ),
    Measure(
        "stability_gap",
        "stability gap",
        "mean over i > 1 of the mean over j < i of R[i-1, j] minus the lowest accuracy on j in any evaluation of "
        "experience i, those within it (--evaluate-every) and R[i, j]",
        f"as described by {DE_LANGE}, in one number",
        lambda r, _: r.matrix.stability_gap(r.within),
        better="lower",
    ),
    Measure(
        "calibration_error",
        "calibration error (ECE)",
        "Σ over 15 bins of n_b / N · |accuracy_b - confidence_b|",
        "Guo et al. 2017, arXiv:1706.04599",
        lambda _, p: expected_calibration_error(p()),
        better="lower",
    ),
    Measure(
        "negative_log_likelihood",
        "negative log likelihood",
        "mean of -log p(label), nats",
        "Guo et al. 2017, arXiv:1706.04599",
        lambda _, p: negative_log_likelihood(p()),
        unit="",
        better="lower",
    ),
    Measure(
        "brier_score",
        "Brier score",
        "mean of Σ over classes of (p_c - [c is the label])²",
        "Brier 1950",
        lambda _, p: brier_score(p()),
        unit="",
        better="lower",
    ),
    Measure(
        "recency_bias",
        "recency bias",
        "share of predictions in the newest experience's classes, minus their share of labels",
        "as reported by Wu et al. 2019, arXiv:1905.13260, sec. 3, in one number",
        lambda _, p: recency_bias(p()),
        better="zero",
    ),
    Measure(
        "agreement",
        "agreement with the past self",
        "mean over i of how often old test samples are predicted as before experience i",
        "fidelity of Stanton et al. 2021, arXiv:2106.05945, with the past self as teacher",
        lambda _, p: agreement_with_past_self(p()),
        better="",
    ),
    Measure("bytes", "state", "memory, teachers and all else a method keeps at the end", "", _bytes, "kB", "lower"),
    Measure(
        "seconds",
        "seconds",
        "wall time of training and evaluation",
        "",
        lambda r, _: float(sum(r.seconds.values())),
        "s",
        "lower",
    ),
    Measure("steps_a_second", "steps a second", "training steps over training time", "", _steps_a_second, "1/s"),
)
"""In the order of the tables. R[i, j] is the accuracy on test experience j after experience i of T."""


def measure(result: Result, predictions: Asked) -> tuple[dict[str, float], dict[str, str]]:
    """Every measure of a run by name, and for those that are undefined the reason."""
    values: dict[str, float] = {}
    undefined: dict[str, str] = {}
    for each in MEASURES:
        try:
            values[each.name] = each.of(result, predictions)
        except CkdError as error:
            undefined[each.name] = str(error)
    return values, undefined
