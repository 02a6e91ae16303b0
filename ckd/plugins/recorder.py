"""The accuracy of every test experience after every training experience, without Avalanche's per-batch metrics."""

from __future__ import annotations

from typing import Any

from avalanche.core import SupervisedPlugin
from torch import Tensor

from ckd.evaluation import AccuracyMatrix


class AccuracyRecorder(SupervisedPlugin):  # type: ignore[misc]
    """Fills the accuracy matrix R[i, j]: accuracy on test experience j after training on experience i.

    Use it as a plugin beside Avalanche's evaluator or, quicker, in its place: `evaluator=AccuracyRecorder()`. Correct
    answers are counted on the device and read once for each experience. An evaluation before any training fills the
    row of the untrained model, which forward transfer needs. Evaluating again after the same experience overwrites
    its row.

    Args:
        stream: name of the stream that is recorded; evaluations on others are ignored.
    """

    def __init__(self, stream: str = "test") -> None:
        super().__init__()
        self.stream = stream
        self.losses: dict[str, list[tuple[int, float]]] = {}
        self._rows: dict[int, dict[int, float]] = {}
        self._trained = 0
        self._correct: Tensor | None = None
        self._total = 0

    def before_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Begin to count."""
        self._correct, self._total = None, 0

    def after_eval_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Count a batch."""
        correct = (strategy.mb_output.argmax(1) == strategy.mb_y).sum()
        self._correct = correct if self._correct is None else self._correct + correct
        self._total += len(strategy.mb_y)

    def after_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Note the experience's accuracy."""
        experience = strategy.experience.logging()
        if experience.origin_stream.name == self.stream and self._correct is not None:
            row = self._rows.setdefault(self._trained, {})
            row[experience.current_experience] = float(self._correct) / self._total

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Move to the next row."""
        self._trained += 1

    def matrix(self) -> AccuracyMatrix:
        """What was recorded so far; entries that were not evaluated are NaN."""
        width = max((max(row) + 1 for row in self._rows.values()), default=0)

        def dense(row: dict[int, float]) -> list[float]:
            return [row.get(j, float("nan")) for j in range(width)]

        initial = dense(self._rows[0]) if 0 in self._rows else None
        return AccuracyMatrix([dense(row) for i, row in sorted(self._rows.items()) if i > 0], initial)

    # as an evaluator -------------------------------------------------------------------------------------------

    def publish_metric_value(self, metric: Any) -> None:
        """Keep a named loss that a plugin publishes, as (iteration, value) under its name."""
        self.losses.setdefault(metric.name, []).append((metric.x_plot, float(metric.value)))

    def get_last_metrics(self) -> dict[str, float]:
        """What `strategy.train` and `strategy.eval` return: accuracy by experience, as evaluated last."""
        if not self._rows:
            return {}
        last = self._rows[max(self._rows)]
        return {f"accuracy/{self.stream}/{j}": accuracy for j, accuracy in sorted(last.items())}
