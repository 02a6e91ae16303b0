"""Where an Avalanche stream crosses from one task to the next, and which classes an experience brings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from avalanche.benchmarks import OnlineCLExperience


class TaskBoundaries:
    """Follows a stream and says where a task ends.

    Of an online stream that is after the last sub-experience of a task, and only if the stream marks its boundaries:
    where it does not, every mini-batch would look like a task of its own. Avalanche's splitter does not mark the last
    sub-experience when all are of equal size, so they are counted too.
    """

    def __init__(self) -> None:
        self._sub_experiences = 0

    def state_dict(self) -> dict[str, Any]:
        """How many sub-experiences of the task were learnt."""
        return {"sub_experiences": self._sub_experiences}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._sub_experiences = state["sub_experiences"]

    def ends_task(self, experience: Any) -> bool:
        """Whether a task boundary follows the experience, which was just learnt."""
        if not isinstance(experience, OnlineCLExperience):
            return True
        if not experience.access_task_boundaries:
            return False
        self._sub_experiences = 1 if experience.is_first_subexp else self._sub_experiences + 1
        return bool(experience.is_last_subexp) or self._sub_experiences == experience.sub_stream_length


def labels_by_task(experience: Any) -> dict[int, set[int]]:
    """Class indices of the experience's training data, by task label (0 where the benchmark has none)."""
    dataset = experience.dataset
    labels = {int(c) for c in dataset.targets.uniques}
    task_labels = getattr(dataset, "targets_task_labels", None)
    if task_labels is None:
        return {0: labels}
    tasks = {int(t) for t in task_labels.uniques}
    if len(tasks) == 1:
        return {tasks.pop(): labels}
    by_task: dict[int, set[int]] = {}
    for task, label in zip(task_labels.data, dataset.targets.data, strict=True):
        by_task.setdefault(int(task), set()).add(int(label))
    return by_task
