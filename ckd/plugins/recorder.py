"""The accuracy of every test experience after every training experience, without Avalanche's per-batch metrics."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor

from ckd.errors import ConfigError, DataError
from ckd.evaluation import AccuracyMatrix, Predictions
from ckd.evaluation.predictions import Kept, gather, predicted, read


class AccuracyRecorder(SupervisedPlugin):  # type: ignore[misc]
    """Fills the accuracy matrix R[i, j]: accuracy on test experience j after training on experience i.

    Use it as a plugin beside Avalanche's evaluator or, quicker, in its place: `evaluator=AccuracyRecorder()`. Correct
    predictions are counted on the device and read once for each experience. An evaluation before any training fills the
    row of the untrained model, which forward transfer needs. Evaluating again, in or after the same experience,
    overwrites its row, also where it is trained on in several calls; experiences that were not evaluated are NaN. In an
    online stream the rows are those of its tasks.

    One evaluation gives both accuracies that papers report: `matrix` chooses among all classes (class-incremental),
    `task_matrix` among the classes of the experience that is tested (task-incremental on one head).

    Args:
        stream: name of the stream that is recorded; evaluations on others are ignored.
        keep_predictions: keep what was predicted for every sample, 8 bytes for each and evaluation, from which metrics
            can be computed afterwards (`predictions`).
    """

    def __init__(self, stream: str = "test", *, keep_predictions: bool = False) -> None:
        super().__init__()
        self.stream = stream
        self.keep_predictions = keep_predictions
        self.losses: dict[str, list[tuple[int, float]]] = {}
        self._rows: dict[int, dict[int, tuple[float, float]]] = {}
        self._trained = 0  # experiences begun
        self._last: tuple[weakref.ref[Any], str, int] | None = None  # not saved, as a restored run begins its own
        self._correct: Tensor | None = None
        self._known: Tensor | None = None
        self._total = 0
        self._batches: list[tuple[Tensor, Tensor, Tensor]] = []
        self._kept: dict[int, dict[int, Kept]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}

    def state_dict(self) -> dict[str, Any]:
        """All that was recorded; dictionaries by number have become pairs."""
        return {
            "losses": {name: [list(point) for point in curve] for name, curve in self.losses.items()},
            "rows": [[i, [[j, *both] for j, both in row.items()]] for i, row in self._rows.items()],
            "trained": self._trained,
            "kept": [[i, [[j, kept.tensors()] for j, kept in row.items()]] for i, row in self._kept.items()],
        }

    def load_state_dict(self, state: Mapping[str, Any], strategy: Any) -> None:
        """Restore what `state_dict` returned."""
        self.losses = {name: [(x, y) for x, y in curve] for name, curve in state["losses"].items()}
        self._rows = {i: {j: (anywhere, known) for j, anywhere, known in row} for i, row in state["rows"]}
        self._trained = state["trained"]
        self._kept = {i: {j: Kept.of_tensors(kept) for j, kept in row} for i, row in state["kept"]}

    def before_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Begin to count."""
        self._correct, self._total, self._batches = None, 0, []
        self._known = torch.tensor(sorted(strategy.experience.dataset.targets.uniques), device=strategy.device)

    def after_eval_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Count a batch."""
        output, targets = strategy.mb_output, strategy.mb_y
        assert self._known is not None
        if self.keep_predictions:
            classes, numbers = read(output, targets, self._known)
            self._batches.append((targets, classes, numbers))
        else:
            classes = predicted(output, targets, self._known)
        correct = (classes == targets).sum(1)
        self._correct = correct if self._correct is None else self._correct + correct
        self._total += len(strategy.mb_y)

    def after_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Note the experience's accuracy."""
        experience = strategy.experience.logging()
        if experience.origin_stream.name == self.stream:
            row = self._rows.setdefault(self._trained, {})
            row[experience.current_experience] = float("nan"), float("nan")
            if self._correct is None:  # without samples there is no accuracy
                return
            anywhere, among_known = (count / self._total for count in self._correct.tolist())
            row[experience.current_experience] = anywhere, among_known
            if self._batches:
                labels, classes, numbers = zip(*self._batches, strict=True)
                kept = Kept.of(torch.cat(labels), torch.cat(classes, 1), torch.cat(numbers, 1))
                self._kept.setdefault(self._trained, {})[experience.current_experience] = kept

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Move to the next row; in an online stream that is the row of the task that the sub-experience is from."""
        experience = strategy.experience.logging()
        origin = getattr(experience, "origin_experience", None)
        if origin is not None:
            self._trained = origin.logging().current_experience + 1
            return
        stream = experience.origin_stream
        benchmark = getattr(stream, "benchmark", None)
        this = weakref.ref(stream if benchmark is None else benchmark), stream.name, experience.current_experience
        self._trained += this != self._last
        self._last = this

    def matrix(self) -> AccuracyMatrix:
        """Accuracy among all classes, as recorded so far; entries that were not evaluated are NaN."""
        return self._matrix(0)

    def task_matrix(self) -> AccuracyMatrix:
        """Accuracy among the classes of the tested experience: other logits are left out, as if the task were known."""
        return self._matrix(1)

    def predictions(self) -> Predictions:
        """What was predicted for every sample, as recorded so far.

        Raises:
            ConfigError: they were not kept.
        """
        if not self._kept:
            raise ConfigError(
                "predictions",
                expected=f"AccuracyRecorder(keep_predictions=True) and an evaluation on the {self.stream} stream",
                received=f"keep_predictions={self.keep_predictions} and {len(self._rows)} evaluations",
                fix="Evaluate with predictions kept.",
            )
        return gather(self._kept)

    def _matrix(self, which: int) -> AccuracyMatrix:
        if not any(self._rows):
            raise DataError(
                "accuracy matrix",
                expected=f"an evaluation on the {self.stream} stream after training",
                received="none",
                fix="Call strategy.eval(benchmark.test_stream) after each experience.",
            )
        width = max(max(row) + 1 for row in self._rows.values())

        def dense(row: dict[int, tuple[float, float]]) -> list[float]:
            return [row[j][which] if j in row else float("nan") for j in range(width)]

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
        return {f"accuracy/{self.stream}/{j}": accuracy for j, (accuracy, _) in sorted(last.items())}
