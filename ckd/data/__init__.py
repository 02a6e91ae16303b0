"""Streams of experiences held as tensors, and as ordinary Avalanche benchmarks.

>>> from ckd.data import benchmark
>>> stream = benchmark("split-digits").train_stream  # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ckd.data.arrays import Arrays, arrays
from ckd.data.avalanche import as_benchmark
from ckd.data.fixed_views import FixedViews
from ckd.data.registry import BENCHMARKS, Root, tensor_stream
from ckd.data.stream import TensorStream
from ckd.data.streams import permuted, rotated, shuffled, split
from ckd.data.text import Tokenizer, text_arrays
from ckd.data.wordpiece import WordPiece
from ckd.data.words import Words

__all__ = [
    "BENCHMARKS",
    "Arrays",
    "FixedViews",
    "TensorStream",
    "Tokenizer",
    "WordPiece",
    "Words",
    "arrays",
    "as_benchmark",
    "benchmark",
    "permuted",
    "rotated",
    "shuffled",
    "split",
    "tensor_stream",
    "text_arrays",
]


def benchmark(
    name: str | Path,
    *,
    n_experiences: int | None = None,
    seed: int = 0,
    data_root: Root = None,
    validate: bool = False,
    samples_per_class: int | None = None,
    stream: str | None = None,
    task_labels: bool = False,
) -> Any:
    """The Avalanche benchmark called `name` (see `ckd list`), or of the arrays in an `.npz` file.

    Arguments and errors are those of `tensor_stream` and `as_benchmark`.
    """
    made = tensor_stream(
        name,
        n_experiences=n_experiences,
        seed=seed,
        data_root=data_root,
        validate=validate,
        samples_per_class=samples_per_class,
        stream=stream,
    )
    return as_benchmark(made, task_labels=task_labels)
