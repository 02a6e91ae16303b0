"""Where an Avalanche stream crosses from one task to the next, and which classes an experience brings."""

from __future__ import annotations

from typing import Any

from avalanche.benchmarks import OnlineCLExperience

from ckd.errors import DataError


def ends_task(experience: Any) -> bool:
    """Whether a task boundary follows the experience.

    Of an online stream only the last sub-experience, and only if the stream tells its boundaries: where it does not,
    every mini-batch would look like a task of its own.
    """
    if isinstance(experience, OnlineCLExperience):
        return bool(experience.access_task_boundaries and experience.is_last_subexp)
    return True


def classes_by_task(experience: Any) -> dict[int, frozenset[int]]:
    """Class indices of the experience's training data, by task label (0 where the benchmark has none).

    Raises:
        DataError: a negative label.
    """
    dataset = experience.dataset
    labels = {int(c) for c in dataset.targets.uniques}
    if min(labels, default=0) < 0:
        raise DataError(
            "labels of the experience",
            expected="class indices from 0",
            received=f"a label {min(labels)}",
            fix="Number the classes 0, 1, 2, ...",
        )
    task_labels = getattr(dataset, "targets_task_labels", None)
    if task_labels is None:
        return {0: frozenset(labels)}
    tasks = {int(t) for t in task_labels.uniques}
    if len(tasks) == 1:
        return {tasks.pop(): frozenset(labels)}
    by_task: dict[int, set[int]] = {}
    for task, label in zip(task_labels.data, dataset.targets.data, strict=True):
        by_task.setdefault(int(task), set()).add(int(label))
    return {task: frozenset(found) for task, found in by_task.items()}
