"""The benchmarks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ckd.data.arrays import Arrays
from ckd.data.sources import cifar10, cifar100, digits, mnist, npz
from ckd.data.stream import TensorStream
from ckd.data.streams import permuted, rotated, split
from ckd.errors import ConfigError, UnknownNameError

Root = str | Path | None


@dataclass(frozen=True)
class Benchmark:
    """How a stream is made.

    Attributes:
        name: as on the command line.
        summary: one line.
        n_experiences: unless another number is asked for.
        source: the data, given the data root.
        make: (arrays, number of experiences, seed) to the stream.
    """

    name: str
    summary: str
    n_experiences: int
    source: Callable[[Root], Arrays]
    make: Callable[[Arrays, int, int], TensorStream]


def _digits(data_root: Root) -> Arrays:
    return digits()


BENCHMARKS: dict[str, Benchmark] = {
    b.name: b
    for b in (
        Benchmark("split-digits", "scikit-learn's digits, 2 new classes at a time; embedded", 5, _digits, split),
        Benchmark("permuted-digits", "scikit-learn's digits, pixels permuted; embedded", 10, _digits, permuted),
        Benchmark("permuted-mnist", "MNIST, pixels permuted anew in every experience", 20, mnist, permuted),
        Benchmark("rotated-mnist", "MNIST, turned by an angle of every experience's own", 20, mnist, rotated),
        Benchmark("split-mnist", "MNIST, 2 new classes at a time", 5, mnist, split),
        Benchmark("split-cifar10", "CIFAR-10, 2 new classes at a time", 5, cifar10, split),
        Benchmark("split-cifar100", "CIFAR-100, 10 new classes at a time", 10, cifar100, split),
    )
}


STREAMS: dict[str, tuple[int, Callable[[Arrays, int, int], TensorStream]]] = {
    "split": (0, split),
    "permuted": (10, permuted),
    "rotated": (10, rotated),
}
"""What one's own arrays can be made into: the number of experiences (0 for a divisor of the classes) and the maker."""


def find(name: str | Path, stream: str | None = None) -> Benchmark:
    """The benchmark called `name`; a path that ends in `.npz` is your own arrays, as a `stream` of `STREAMS`.

    Raises:
        UnknownNameError: no such benchmark or stream; the nearest names are in the message.
        ConfigError: a stream for a benchmark that is one already.
    """
    name = str(name)
    if name.endswith(".npz"):
        if (stream := stream or "split") not in STREAMS:
            raise UnknownNameError.of("stream", stream, STREAMS)
        n_experiences, make = STREAMS[stream]
        summary = f"the arrays in {name}, {stream}"
        return Benchmark(Path(name).stem, summary, n_experiences, lambda _: npz(name), make)
    if name not in BENCHMARKS:
        raise UnknownNameError.of("benchmark", name, [*BENCHMARKS, "FILE.npz"])
    if stream is not None:
        fix = "Leave it out; it is for FILE.npz."
        raise ConfigError(f"stream of {name}", expected="the benchmark's own", received=repr(stream), fix=fix)
    return BENCHMARKS[name]


def tensor_stream(
    name: str | Path,
    *,
    n_experiences: int | None = None,
    seed: int = 0,
    data_root: Root = None,
    validate: bool = False,
    samples_per_class: int | None = None,
    stream: str | None = None,
) -> TensorStream:
    """The stream of the benchmark called `name`.

    Args:
        name: of a benchmark, or the path of an `.npz` file.
        n_experiences: the benchmark's own number unless given. For an npz file that is split, the first of 5, 4, 3
            and 2 that divides the number of classes, else one experience for each class; for one that is permuted or
            rotated, 10.
        seed: of what is random about the stream (permutations, angles).
        data_root: where data sets are kept; `~/.cache/ckd` unless given.
        samples_per_class: train on so many samples of each class; all of them unless given.
        validate: hold out a tenth of the training data and test on that instead, for choosing settings.
        stream: what an npz file is made into: "split" by classes unless given, "permuted" or "rotated".

    Raises:
        UnknownNameError: no such benchmark.
        DataError: data that is not there or cannot be used.
        ConfigError: a number of experiences that the data cannot be cut into.
    """
    benchmark = find(name, stream)
    arrays = benchmark.source(data_root)
    if validate:
        arrays = arrays.holding_out()
    if samples_per_class is not None:
        arrays = arrays.limited(samples_per_class)
    if n_experiences is None:
        n_experiences = benchmark.n_experiences or _divisor(arrays.n_classes)
    return benchmark.make(arrays, n_experiences, seed)


def _divisor(n_classes: int) -> int:
    return next(n for n in (5, 4, 3, 2, n_classes) if n_classes % n == 0)
