"""Streams in which every experience shows all the data, changed in its own way."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ckd.data.arrays import Arrays
from ckd.data.experience import Change, TensorExperience, Workspace
from ckd.data.stream import TensorStream, stream_of
from ckd.numbers import check_whole

MOST = 10_000
"""Experiences of a stream: each has a permutation of its own, of 8 bytes a pixel."""

TEST_SETS = 2**28
"""Bytes of changed test sets that are kept, as each is asked for again after every experience: 34 of MNIST's size."""


def changed(arrays: Arrays, changes: Sequence[Change]) -> TensorStream:
    """One experience for each of the `changes`; one workspace for all that train, one for all that test."""
    return stream_of(
        arrays,
        _experiences(arrays.x_train, arrays.y_train, changes, Workspace()),
        _experiences(arrays.x_test, arrays.y_test, changes, Workspace(TEST_SETS)),
    )


def check_count(n_experiences: int) -> None:
    """Raise a ConfigError unless there are 1 to `MOST` experiences."""
    check_whole("number of experiences", n_experiences, least=1, most=MOST, fix="20 are customary.")


def _experiences(x: Tensor, y: Tensor, changes: Sequence[Change], workspace: Workspace) -> list[TensorExperience]:
    return [TensorExperience(x, y, change=change, workspace=workspace) for change in changes]
