"""What benchmarks and methods are called, so that no two are taken for one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ckd.bench.result import Result
from ckd.bench.spec import NetworkFile, RunSpec
from ckd.names import short_name
from ckd.recipes import RECIPES


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
    """A name for each method (folder), which says what tells it from others of the same recipe.

    Folders of one name are one method, with a seed each. Where they have a seed twice, each is named with its digest.
    """
    sizes: dict[str, set[int]] = {}
    for result in results:
        sizes.setdefault(benchmark_name(result), set()).add(result.spec.memory_size)
    by_label: dict[tuple[str, str], dict[Path, RunSpec]] = {}
    seeds: dict[Path, set[int]] = {}
    for result in results:
        spec = result.spec
        benchmark, label = benchmark_name(result), spec.label
        if len(sizes[benchmark] - {0}) == 1:
            label = label.removesuffix(f", memory {spec.memory_size}")
        by_label.setdefault((benchmark, label), {}).setdefault(spec.folder.parent, spec)
        seeds.setdefault(spec.folder.parent, set()).add(spec.seed)
    names: dict[Path, str] = {}
    for (_, label), alike in by_label.items():
        flat = {folder: _flat(spec) for folder, spec in alike.items()}
        keys = dict.fromkeys(key for decided in flat.values() for key in decided)
        usual = {key: Counter(repr(decided.get(key)) for decided in flat.values()).most_common(1)[0][0] for key in keys}
        named: dict[str, list[Path]] = {}
        for folder, decided in flat.items():
            own = ", ".join(f"{key} {decided.get(key)}" for key in usual if repr(decided.get(key)) != usual[key])
            named.setdefault(f"{label} ({own})" if own else label, []).append(folder)
        for name, folders in named.items():
            twice = len(set().union(*(seeds[f] for f in folders))) < sum(len(seeds[f]) for f in folders)
            names |= {f: f"{name}, folder {f.name.rpartition('-')[2]}" if twice else name for f in folders}
    return names


def _flat(spec: RunSpec) -> dict[str, Any]:
    """What tells methods of one label apart; a setting that an older result lacks has its default."""
    found = {k: v for k, v in asdict(spec).items() if k not in ("seed", "source", "settings", "benchmark")}
    known = RECIPES[spec.recipe].defaults if spec.recipe in RECIPES else {}
    settings = {k: v for k, v in {**known, **spec.settings}.items() if k not in ("memory_size", "seed", "steps")}
    taught_by = ", ".join(map(_teacher, spec.teachers)) or "none"
    found |= {"recipe": Path(spec.recipe).name, "teachers": taught_by}
    return {**found, **{f"setting {k}" if k in found else k: v for k, v in settings.items()}}


def _teacher(of: RunSpec | NetworkFile) -> str:
    """A trained network; of runs that differ in seeds alone, the same."""
    if isinstance(of, NetworkFile):
        return f"{Path(of.file).name} {of.digest}"
    return _first(of).folder.parent.name


def _first(spec: RunSpec) -> RunSpec:
    """The run with seed 0, as all that taught it."""
    return replace(spec, seed=0, teachers=tuple(_first(t) if isinstance(t, RunSpec) else t for t in spec.teachers))
