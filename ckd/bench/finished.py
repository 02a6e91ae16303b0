"""What is finished already, and whether this code made it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from ckd.bench.code import CODE
from ckd.bench.result import FILE, NETWORK, Result, load
from ckd.bench.spec import RunSpec
from ckd.data.registry import BENCHMARKS
from ckd.errors import DataError


def finished(specs: Sequence[RunSpec], out: Path, *, with_networks: bool = False) -> dict[int, Result]:
    """The results that are under `out`, by the number of the spec; those alone that have their network, if asked for.

    Raises:
        DataError: a file that is not a result, one of a newer version, or of another run.
    """
    files = {i: out / spec.folder / FILE for i, spec in enumerate(specs)}
    there = {i: f for i, f in files.items() if f.exists() and (not with_networks or f.with_name(NETWORK).exists())}
    found = {i: load(file) for i, file in there.items()}
    for i, result in found.items():
        _check_same(result, specs[i], there[i])
    return found


def _check_same(result: Result, spec: RunSpec, file: Path) -> None:
    """Raise a DataError for the result of another run, or of another number of experiences."""
    found, wanted = result.spec.folder, spec.folder
    told = [f"one of {found}" if found != wanted else ""]
    if spec.benchmark in BENCHMARKS and spec.n_experiences not in (None, n := result.matrix.values.shape[1]):
        told.append(f"accuracies of {n} experiences")
    if any(told):
        expected = f"that of {wanted}, with these settings and data and {spec.n_experiences} experiences"
        fix = "Use --force to run it again, or another --out."
        raise DataError(f"result {file}", expected=expected, received=" and ".join(filter(None, told)), fix=fix)


def by_other_code(result: Result) -> bool:
    """Whether another version of ckd's files made the result, or one that did not say which it was."""
    return result.made.get("code") != CODE


def check_code(results: Collection[Result], out: Path) -> None:
    """Refuse results of other code.

    Raises:
        DataError: how many there are.
    """
    others = sum(map(by_other_code, results))
    if others:
        raise DataError(
            f"results in {out}",
            expected="results of the code that runs now",
            received=f"{others} of {len(results)} made by other code",
            fix="Use another --out, --force to run them again, or --keep to use them all the same.",
        )
