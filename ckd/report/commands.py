"""The command that makes a run again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ckd.bench.planning import TENTH, plan
from ckd.bench.spec import RunSpec
from ckd.data import BENCHMARKS
from ckd.errors import CkdError
from ckd.recipes.protocols import variants
from ckd.recipes.registry import RECIPES

_OPTIONS = {
    "n_experiences": "--experiences",
    "epochs": "--epochs",
    "batch_size": "--batch-size",
    "lr": "--lr",
    "network": "--network",
    "samples_per_class": "--samples-per-class",
    "precision": "--precision",
    "average": "--average",
    "lr_end": "--lr-end",
    "lr_steps": "--lr-steps",
    "passes": "--passes",
    "evaluate_every": "--evaluate-every",
    "momentum": "--momentum",
    "weight_decay": "--weight-decay",
}
_FLAGS = {"compiled": "--compile", "validate": "--validate", "online": "--online"}


def command(spec: RunSpec, seeds: Sequence[int]) -> str:
    """The shortest `ckd run` for these seeds of a method: what its protocol decides is left out.

    A sentence for networks that were taught by others or pruned, which `ckd run` cannot ask for.

    Example:
        >>> from ckd.bench import plan
        >>> command(plan("split-digits", "der++", seed=0, memory_size=100, settings={"alpha": 0.3}), [0, 1, 2])
        'ckd run split-digits --recipe der++ --memory-size 100 --set alpha=0.3 --seeds 3'
    """
    if spec.teachers or spec.sparsity:
        return "Made by `ckd distil`: `ckd run` takes no trained teacher and prunes nothing."
    shortest = min((_options(spec, variant) for variant in (None, *variants(spec.benchmark))), key=len)
    has_none = spec.recipe in RECIPES and "memory_size" not in RECIPES[spec.recipe].defaults
    memory = [] if has_none else ["--memory-size", str(spec.memory_size)]
    words = ["ckd", "run", spec.benchmark, "--recipe", spec.recipe, *memory, *shortest, "--seeds", _seeds(seeds)]
    return shlex.join(words)


def _options(spec: RunSpec, variant: str | None) -> list[str]:
    """What must be said beside the protocol `variant`."""
    usual: dict[str, Any] = {}
    known = spec.benchmark in BENCHMARKS or spec.benchmark.endswith(".npz")
    if spec.recipe in RECIPES and known:  # a result may name any file, which is not to be run for a report
        try:
            usual = asdict(
                plan(spec.benchmark, spec.recipe, seed=spec.seed, memory_size=spec.memory_size, variant=variant)
            )
        except CkdError:  # data that are not here: everything is said
            usual = {}
    decided = asdict(spec)
    if usual.get("lr_steps") and spec.epochs != usual["epochs"]:
        del usual["lr_steps"]  # they are elsewhere in a training of other epochs
    if spec.lr_steps and spec.lr_steps != usual.get("lr_steps"):
        usual["lr_end"] = TENTH  # of a command that names steps
    said = [] if variant is None else ["--protocol", variant]
    for name, option in _OPTIONS.items():
        if decided[name] != usual.get(name, ...) and (decided[name] is not None or usual.get(name) is not None):
            said += [option, _told(decided[name])]
    if spec.stream != usual.get("stream", ""):
        said += ["--stream", spec.stream or "split"]
    for name, flag in _FLAGS.items():
        said += [flag] if decided[name] and not usual.get(name) else []
    said += ["--no-online"] if usual.get("online") and not spec.online else []
    for name, value in decided["settings"].items():
        if value != usual.get("settings", {}).get(name, ...):
            said += ["--set", f"{name}={value!r}"]
    return said


def _told(value: Any) -> str:
    """As the option of a command reads it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "all" if value is None else f"{value}"


def _seeds(seeds: Sequence[int]) -> str:
    ordered = sorted(seeds)
    if ordered == list(range(len(ordered))):
        return str(len(ordered))
    if ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{ordered[0]}-{ordered[-1]}"
    return ",".join(map(str, ordered))
