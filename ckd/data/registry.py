"""The benchmarks by name.

ckd's own are here; others are found where they are: an entry point of the group `ckd.benchmarks` in any installed
package, `package.module:function`, `file.py:function`, or arrays in a file, `mine.npz`.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ckd.data.arrays import Arrays
from ckd.data.sources import ag_news, ag_news_small, cifar10, cifar100, digits, mnist, npz, sst2, subj, trec
from ckd.data.stream import TensorStream
from ckd.data.streams import permuted, rotated, shuffled, split
from ckd.errors import ConfigError, UnknownNameError
from ckd.modules import defaults_of, is_path, named

Root = str | Path | None

GROUP = "ckd.benchmarks"
"""Of entry points."""


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

    def tensor_stream(
        self, *, n_experiences: int | None, seed: int, data_root: Root, validate: bool, samples_per_class: int | None
    ) -> TensorStream:
        """The stream; arguments and errors are those of the function of this name."""
        arrays = self.source(data_root)
        if validate:
            arrays = arrays.holding_out()
        if samples_per_class is not None:
            arrays = arrays.limited(samples_per_class)
        if n_experiences is None:
            n_experiences = self.n_experiences or _divisor(arrays.n_classes)
        return self.make(arrays, n_experiences, seed)


@dataclass(frozen=True)
class OwnBenchmark:
    """A benchmark that a user's function makes: a TensorStream, or Arrays, which are then made into a stream.

    Of `n_experiences`, `seed`, `data_root`, `validate` and `samples_per_class` it is given what it has arguments for.

    Attributes:
        name: as on the command line.
        summary: the first line of its docstring.
        n_experiences: the default of its argument; 0 where it has none.
        function: makes it.
        arguments: its arguments, with defaults.
        stream: what arrays are made into, of `STREAMS`; None for split, or for a stream of its own.
    """

    name: str
    summary: str
    n_experiences: int
    function: Callable[..., Any]
    arguments: dict[str, Any]
    stream: str | None = None

    def source(self, data_root: Root) -> object:
        """What the function makes of the data under `data_root`."""
        return self.function(**({"data_root": data_root} if data_root and "data_root" in self.arguments else {}))

    def tensor_stream(
        self, *, n_experiences: int | None, seed: int, data_root: Root, validate: bool, samples_per_class: int | None
    ) -> TensorStream:
        """The stream.

        Raises:
            ConfigError: a function that returns something else, or a stream that cannot be made as is asked.
            DataError, ConfigError: as of the function of this name, for arrays.
        """
        choices = {"n_experiences": n_experiences, "validate": validate or None, "samples_per_class": samples_per_class}
        asked = {name: value for name, value in choices.items() if value is not None}
        given = {**asked, "seed": seed, **({"data_root": data_root} if data_root else {})}
        made = self.function(**{name: value for name, value in given.items() if name in self.arguments})
        what = f"benchmark {self.name!r}"
        if isinstance(made, Arrays):
            count, make = STREAMS[self.stream or "split"]
            return Benchmark(self.name, self.summary, count, lambda _: made, make).tensor_stream(
                n_experiences=n_experiences,
                seed=seed,
                data_root=data_root,
                validate=validate and "validate" not in self.arguments,
                samples_per_class=None if "samples_per_class" in self.arguments else samples_per_class,
            )
        if not isinstance(made, TensorStream):
            fix = "Return split(arrays(x_train, y_train, x_test, y_test), 5) of ckd.data, or the arrays alone."
            raise ConfigError(what, expected="a TensorStream or Arrays", received=repr(made), fix=fix)
        for name in asked.keys() - self.arguments.keys():
            fix = f"Give the function an argument {name}, or let it return Arrays."
            raise ConfigError(what, expected=f"to be asked for no {name}", received=asked[name], fix=fix)
        if self.stream is not None:
            fix = "Leave it out; it is for arrays."
            raise ConfigError(f"stream of {self.name}", expected="its own", received=repr(self.stream), fix=fix)
        return made


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
        Benchmark("digits", "scikit-learn's digits, all classes at once; embedded", 1, _digits, split),
        Benchmark("mnist", "MNIST, all classes at once", 1, mnist, split),
        Benchmark("cifar10", "CIFAR-10, all classes at once", 1, cifar10, split),
        Benchmark("cifar100", "CIFAR-100, all classes at once", 1, cifar100, split),
        Benchmark("sst2", "sentences of film reviews by sentiment, 2 classes at once", 1, sst2, split),
        Benchmark("trec", "questions by what they ask for, 6 classes at once", 1, trec, split),
        Benchmark("subj", "sentences about films, subjective or objective, 2 classes at once", 1, subj, split),
        Benchmark("ag-news", "news by topic, 4 classes at once", 1, ag_news, split),
        Benchmark("ag-news-small", "the 7,600 test articles of AG News alone", 1, ag_news_small, split),
    )
}


STREAMS: dict[str, tuple[int, Callable[[Arrays, int, int], TensorStream]]] = {
    "split": (0, split),
    "shuffled": (0, shuffled),
    "permuted": (10, permuted),
    "rotated": (10, rotated),
}
"""What one's own arrays can be made into: the number of experiences (0 for a divisor of the classes) and the maker."""


def find(name: str | Path, stream: str | None = None) -> Benchmark | OwnBenchmark:
    """The benchmark called `name`, or that an entry point, a path to a function or an `.npz` file names.

    `stream` is what one's own arrays are made into, of `STREAMS`. A benchmark that is split by classes can be
    "shuffled".

    Raises:
        UnknownNameError: no such benchmark or stream; the nearest names are in the message.
        ConfigError: another stream for a benchmark that is one already; a function that cannot be loaded, or has an
            argument without a default.
    """
    name = str(name)
    points = {} if name in BENCHMARKS else _entry_points()
    elsewhere = name not in BENCHMARKS and (name in points or is_path(name))
    if stream is not None and stream not in STREAMS:
        raise UnknownNameError.of("stream", stream, STREAMS)
    if name.endswith(".npz"):
        n_experiences, make = STREAMS[stream or "split"]
        summary = f"the arrays in {name}, {stream or 'split'}"
        return Benchmark(Path(name).stem, summary, n_experiences, lambda _: npz(name), make)
    if elsewhere:
        return _own(name, points.get(name, name), stream)
    if name not in BENCHMARKS:
        raise UnknownNameError.of("benchmark", name, [*BENCHMARKS, *points, "FILE.npz"])
    found = BENCHMARKS[name]
    if stream is None:
        return found
    orders = ("split", "shuffled") if found.make is split and found.n_experiences > 1 else ()
    if stream not in orders:
        expected, fix = " or ".join(orders) or "the benchmark's own", "Leave it out, or name FILE.npz."
        raise ConfigError(f"stream of {name}", expected=expected, received=repr(stream), fix=fix)
    return replace(found, make=STREAMS[stream][1])


def _entry_points() -> dict[str, str]:
    """Where functions are, by name; a file of every installed package is read for it."""
    return {point.name: point.value for point in importlib.metadata.entry_points(group=GROUP)}


def _own(name: str, where: str, stream: str | None) -> OwnBenchmark:
    """The benchmark at `package.module:function` or `file.py:function`."""
    what = f"benchmark {name!r}"
    _, function = named(what, where)
    if function is None:
        raise ConfigError(what, expected="a function", received="none", fix=f"Name one: {where}:function.")
    arguments = defaults_of(what, function)
    summary = (inspect.getdoc(function) or "").split("\n")[0]
    return OwnBenchmark(name, summary, arguments.get("n_experiences") or 0, function, arguments, stream)


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
        name: of a benchmark, or the path of a function or of an `.npz` file.
        n_experiences: the benchmark's own number unless given. For one's own arrays, by classes, the first of 5, 4, 3
            and 2 that divides the number of classes, else one experience for each class; for those that are permuted
            or rotated, 10.
        seed: of what is random about the stream (permutations, angles, the order of classes).
        data_root: where data sets are kept; `~/.cache/ckd` unless given.
        samples_per_class: train on so many samples of each class; all of them unless given.
        validate: hold out a tenth of the training data and test on that instead, for choosing settings.
        stream: what one's own arrays are made into: "split" by classes in ascending order unless given, "shuffled" by
            classes in an order drawn from the seed, "permuted" or "rotated". ckd's own class-incremental benchmarks
            can be "shuffled" too.

    Raises:
        UnknownNameError: no such benchmark.
        ConfigError: a function that returns something else.
        DataError: data that is not there or cannot be used.
        ConfigError: a number of experiences that the data cannot be cut into.
    """
    return find(name, stream).tensor_stream(
        n_experiences=n_experiences,
        seed=seed,
        data_root=data_root,
        validate=validate,
        samples_per_class=samples_per_class,
    )


def _divisor(n_classes: int) -> int:
    return next(n for n in (5, 4, 3, 2, n_classes) if n_classes % n == 0)
