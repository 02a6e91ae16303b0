"""What benchmarks and methods are called, so that no two are taken for one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ckd.bench.result import Result
from ckd.bench.spec import RunSpec
from ckd.names import short_name


def benchmark_name(result: Result) -> str:
    """What numbers can be compared within."""
    spec = result.spec
    parts = [short_name(spec.benchmark), f"{result.matrix.values.shape[1]} experiences"]
    parts += [spec.stream] if spec.stream else []
    parts += [f"{spec.samples_per_class} images a class"] if spec.samples_per_class else []
    parts += [f"data {spec.data}"] if spec.data else []
    parts += ["validation data"] if spec.validate else []
    return ", ".join(parts)


def method_names(results: Sequence[Result]) -> dict[Path, str]:
    """A name for each method (folder), which says what tells it from others of the same recipe."""
    sizes: dict[str, set[int]] = {}
    for result in results:
        sizes.setdefault(benchmark_name(result), set()).add(result.spec.memory_size)
    by_label: dict[tuple[str, str], dict[Path, RunSpec]] = {}
    for result in results:
        spec = result.spec
        benchmark, label = benchmark_name(result), spec.label
        if len(sizes[benchmark] - {0}) == 1:
            label = label.removesuffix(f", memory {spec.memory_size}")
        by_label.setdefault((benchmark, label), {}).setdefault(spec.folder.parent, spec)
    names: dict[Path, str] = {}
    for (_, label), alike in by_label.items():
        flat = {folder: _flat(spec) for folder, spec in alike.items()}
        keys = dict.fromkeys(key for decided in flat.values() for key in decided)
        usual = {key: Counter(repr(decided.get(key)) for decided in flat.values()).most_common(1)[0][0] for key in keys}
        usual.pop("memory_size")  # it is in the label
        for folder, decided in flat.items():
            own = ", ".join(f"{key} {decided.get(key)}" for key in usual if repr(decided.get(key)) != usual[key])
            names[folder] = f"{label} ({own})" if own else label
    return names


def _flat(spec: RunSpec) -> dict[str, Any]:
    found = {k: v for k, v in asdict(spec).items() if k not in ("seed", "source", "settings", "recipe", "benchmark")}
    taught_by = [t.folder.parent.name if isinstance(t, RunSpec) else Path(t.file).name for t in spec.teachers]
    return {**found, "teachers": ", ".join(taught_by) or "none", **spec.settings}
