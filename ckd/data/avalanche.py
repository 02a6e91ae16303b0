"""From a tensor stream to an ordinary Avalanche benchmark: the only file of `ckd.data` that speaks Avalanche."""

from __future__ import annotations

from typing import Any

import numpy as np

from ckd.data.experience import TensorExperience
from ckd.data.preparation import PerSample
from ckd.data.stream import TensorStream


def as_benchmark(stream: TensorStream, *, task_labels: bool = False) -> Any:
    """An Avalanche benchmark with `train_stream` and `test_stream`, and the tensors as `.tensors`.

    Avalanche's own strategies and loaders read it sample by sample; `TensorLoader` reads it as whole tensors.
    Neither building nor reading it touches the global random state.

    Args:
        stream: the experiences.
        task_labels: the experience's index as task label, for multi-head models; otherwise 0 for all.
    """
    numpy_state = np.random.get_state()  # noqa: NPY002 - Avalanche draws from it when it is first imported
    from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline, with_task_labels
    from avalanche.benchmarks.utils import DataAttribute, TaskAwareSupervisedClassificationDataset
    from avalanche.benchmarks.utils.data_attribute import TaskLabels
    from avalanche.benchmarks.utils.flat_data import ConstantSequence
    from avalanche.benchmarks.utils.transform_groups import TransformGroups

    np.random.set_state(numpy_state)  # noqa: NPY002

    labels: dict[int, list[int]] = {}  # experiences that share their targets share the list

    def dataset(experience: TensorExperience, task: int) -> Any:
        targets = labels.setdefault(id(experience.targets), experience.targets.tolist())
        transforms = {"train": PerSample(stream.prepare_train), "eval": PerSample(stream.prepare_test)}
        return TaskAwareSupervisedClassificationDataset(
            [experience],
            transform_groups=TransformGroups(transforms),
            data_attributes=[
                DataAttribute(targets, "targets"),
                TaskLabels(ConstantSequence(task if task_labels else 0, len(targets))),
            ],
        )

    benchmark = with_classes_timeline(
        with_task_labels(
            benchmark_from_datasets(
                train=[dataset(e, i) for i, e in enumerate(stream.train)],
                test=[dataset(e, i).eval() for i, e in enumerate(stream.test)],
            )
        )
    )
    for avalanche_stream in (benchmark.train_stream, benchmark.test_stream):
        for experience in avalanche_stream:  # a list, as the classic benchmarks have: masked heads index with it
            experience.classes_in_this_experience = sorted(experience.classes_in_this_experience)
    benchmark.tensors = stream
    return benchmark
