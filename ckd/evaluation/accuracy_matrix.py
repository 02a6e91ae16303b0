"""The accuracy matrix and what follows from it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ckd.errors import DataError
from ckd.evaluation.within import Within


class AccuracyMatrix:
    """R[i, j]: accuracy on test experience j after training on experience i.

    Args:
        rows: (N, T) accuracies in [0, 1]; N is T after a whole stream, 1 after joint training. NaN where nothing was
            evaluated.
        initial: accuracies (T,) of the untrained model, for forward transfer.

    Raises:
        DataError: not a table of numbers between 0 and 1.
    """

    def __init__(
        self,
        rows: Sequence[Sequence[float]] | NDArray[np.float64],
        initial: Sequence[float] | NDArray[np.float64] | None = None,
    ):
        try:
            self.values: NDArray[np.float64] = np.array(rows, dtype=np.float64)
            self.initial = None if initial is None else np.array(initial, dtype=np.float64)
        except ValueError as error:
            raise _refused(error) from error
        width = self.values.shape[1] if self.values.ndim == 2 else -1
        if not 0 < len(self.values) <= width or (self.initial is not None and self.initial.shape != (width,)):
            raise _refused(f"shape {self.values.shape}")
        known = np.concatenate([self.values.ravel(), [] if self.initial is None else self.initial])
        if bool(((known < 0) | (known > 1)).any()):
            raise _refused(f"values from {np.nanmin(known)} to {np.nanmax(known)}")

    def __repr__(self) -> str:
        return f"AccuracyMatrix({self.values.round(4).tolist()})"

    @property
    def _square(self) -> NDArray[np.float64]:
        """R of a whole stream.

        Raises:
            DataError: fewer rows than experiences, as after joint training.
        """
        if self.values.shape[0] != self.values.shape[1]:
            raise DataError(
                "accuracy matrix",
                expected="a row for each experience",
                received=f"shape {self.values.shape}",
                fix="Train and evaluate experience by experience; joint training has no forgetting.",
            )
        return self.values

    @property
    def sequential(self) -> bool:
        """Whether there is a row for each experience, so that forgetting is defined."""
        rows, columns = self.values.shape
        return bool(rows == columns)

    def average_accuracy(self) -> float:
        """Mean over j of R[T-1, j] (Lopez-Paz & Ranzato 2017, arXiv:1706.08840)."""
        return float(self.values[-1].mean())

    def average_accuracies(self) -> NDArray[np.float64]:
        """Mean of R[i, 0..i] for every i, (T,): the curve of average accuracy over what was taught so far."""
        return np.array([row[: i + 1].mean() for i, row in enumerate(self._square)])

    def average_anytime_accuracy(self) -> float:
        """Mean over i of the mean of R[i, 0..i] (Caccia et al. 2020, arXiv:2003.05856)."""
        return float(self.average_accuracies().mean())

    def learning_accuracy(self) -> float:
        """Mean of the diagonal: accuracy on each experience just after it (Riemer et al. 2019, arXiv:1810.11910)."""
        return float(self._square.diagonal().mean())

    def forgetting(self) -> float:
        """Mean over j < T-1 of max over i < T-1 of R[i, j], minus R[T-1, j] (Chaudhry et al. 2018, arXiv:1801.10112).

        0 for a single experience.
        """
        r = self._square
        if len(r) == 1:
            return 0.0
        best = np.fmax.reduce(r[:-1, :-1])  # what was not evaluated, before an experience was taught, does not count
        return float((best - r[-1, :-1]).mean())

    def backward_transfer(self) -> float:
        """Mean over j < T-1 of R[T-1, j] - R[j, j] (Lopez-Paz & Ranzato 2017); 0 for a single experience."""
        r = self._square
        return float((r[-1, :-1] - r.diagonal()[:-1]).mean()) if len(r) > 1 else 0.0

    def forward_transfer(self) -> float:
        """Mean over j > 0 of R[j-1, j] - initial[j] (Lopez-Paz & Ranzato 2017); 0 for a single experience.

        Raises:
            DataError: no accuracies of the untrained model.
        """
        r = self._square
        if self.initial is None:
            raise DataError(
                "forward transfer",
                expected="the accuracies of the untrained model",
                received="none",
                fix="Evaluate once before training.",
            )
        return float((r.diagonal(1) - self.initial[1:]).mean()) if len(r) > 1 else 0.0

    def intransigence(self, reference: Sequence[float] | NDArray[np.float64]) -> float:
        """Mean over j of reference[j] - R[j, j]: what is lost in learning, not in remembering (Chaudhry et al. 2018).

        Args:
            reference: accuracy on each experience (T,) of a network that was trained with all data so far.
        """
        return float((np.asarray(reference, dtype=np.float64) - self._square.diagonal()).mean())

    def minimum_accuracy(self, within: Sequence[Within] = ()) -> float:
        """Mean over j < T-1 of the lowest accuracy on j in any evaluation after experience j was learnt.

        De Lange et al. 2023, arXiv:2205.13452, eq. 2. Without evaluations `within` experiences that is min over i > j
        of R[i, j]: what is lost and won back within an experience is not seen.

        Raises:
            DataError: a single experience, or evaluations of another run.
        """
        r = self._several("minimum accuracy")
        return float(np.mean([np.min([*r[j + 1 :, j], *self._on(j, within)]) for j in range(len(r) - 1)]))

    def worst_case_accuracy(self, within: Sequence[Within] = ()) -> float:
        """R[T-1, T-1] / T + (1 - 1/T) · minimum accuracy (De Lange et al. 2023, arXiv:2205.13452, eq. 3)."""
        r = self._square
        return float(r[-1, -1] / len(r) + (1 - 1 / len(r)) * self.minimum_accuracy(within))

    def stability_gap(self, within: Sequence[Within]) -> float:
        """How far accuracy on what was learnt drops while the next experience is, at its lowest.

        Mean over i > 0 of the mean over j < i of R[i-1, j] minus the lowest accuracy on j in any evaluation of
        experience i, those within it and R[i, j] at its end. De Lange et al. 2023, arXiv:2205.13452, describe the drop;
        this is their minimum taken for each boundary. What is not won back, R[i-1, j] - R[i, j], is a part of it.

        Raises:
            DataError: a single experience, no evaluations within experiences, or those of another run.
        """
        r = self._several("stability gap")
        if not within:
            raise DataError(
                "stability gap",
                expected="evaluations within experiences",
                received="none",
                fix='Run again with --evaluate-every 10, in a suite protocol={"evaluate_every": 10}.',
            )
        lowest = [[np.min([r[i, j], *self._on(j, within, during=i)]) for j in range(i)] for i in range(1, len(r))]
        return float(np.mean([np.mean(r[i, : i + 1] - lowest[i]) for i in range(len(r) - 1)]))

    def _several(self, measure: str) -> NDArray[np.float64]:
        """R of two experiences or more."""
        if len(self._square) == 1:
            raise DataError(measure, expected="two experiences or more", received=1, fix="Train on more.")
        return self._square

    def _on(self, j: int, within: Sequence[Within], during: int | None = None) -> list[float]:
        """Accuracies on test experience `j` within those after it, or within that one alone."""
        for each in within:
            if not each.learnt < len(self.values) or len(each.accuracies) != each.learnt + 1:
                expected = f"experiences below {len(self.values)}, and an accuracy for each so far"
                raise DataError("evaluation within", expected=expected, received=each, fix="Use those of the same run.")
        return [each.accuracies[j] for each in within if (each.learnt > j if during is None else each.learnt == during)]

    def to_json(self) -> str:
        """The matrix as JSON; NaN is written as null."""

        def plain(values: NDArray[np.float64]) -> object:
            return json.loads(json.dumps(values.tolist()).replace("NaN", "null"))

        initial = None if self.initial is None else plain(self.initial)
        return json.dumps({"rows": plain(self.values), "initial": initial})

    @classmethod
    def from_json(cls, text: str) -> AccuracyMatrix:
        """The matrix that `to_json` wrote, exactly."""
        found = json.loads(text)
        initial = found["initial"]
        rows = np.array(found["rows"], dtype=np.float64)
        return cls(rows, None if initial is None else np.array(initial, dtype=np.float64))


def _refused(received: object) -> DataError:
    return DataError(
        "accuracy matrix",
        expected="rows (N, T) with 0 < N <= T and values in [0, 1], and T initial values if any",
        received=received,
        fix="Evaluate every test experience after every training experience.",
    )
