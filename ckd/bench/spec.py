"""What a run is: everything that decides its result."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ckd.data.registry import find
from ckd.errors import ConfigError, DataError, UnknownNameError
from ckd.modules import source_file
from ckd.names import short_name
from ckd.networks import NETWORKS
from ckd.objective import Objective
from ckd.recipes import get, protocol


@dataclass(frozen=True)
class RunSpec:
    """One run: a recipe on a benchmark with a seed, every hyper-parameter decided.

    Attributes:
        benchmark, recipe: names, or where a function is.
        seed: of the stream, the network's initial weights, the shuffling and the memory.
        memory_size: samples remembered; 0 for recipes without a memory.
        n_experiences: None for the benchmark's own number.
        epochs, batch_size, lr, network: how it is trained, with plain SGD.
        samples_per_class: training samples of each class; None for all.
        settings: hyper-parameters of the recipe.
        validate: test on held-out training data.
        precision: "float32" or "bfloat16", the arithmetic of the network.
        compiled: whether the network is compiled.
        average: decay of an average of the weights that predicts in the student's place; 0 for none.
        lr_end: share of the learning rate that is left at the end of each experience; 1 keeps it.
        passes: updates with each mini-batch, one after the other.
        evaluate_every: steps from one evaluation within an experience to the next; 0 for none.
        stream: what the arrays of a file of one's own are made into; "" for split by classes.
        data: digest of the arrays' or the benchmark's file, for a file of one's own.
        code: digest of the recipe's file, for a file of one's own.
        source: where the protocol comes from, and what was changed.
    """

    benchmark: str
    recipe: str
    seed: int
    memory_size: int
    n_experiences: int | None
    epochs: int
    batch_size: int
    lr: float
    network: str
    samples_per_class: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    validate: bool = False
    precision: str = "float32"
    compiled: bool = False
    average: float = 0.0
    lr_end: float = 1.0
    passes: int = 1
    evaluate_every: int = 0
    stream: str = ""
    data: str = ""
    code: str = ""
    source: str = ""

    @property
    def label(self) -> str:
        """How the method is called in tables and plots."""
        extras = [f" + average {self.average:g}"] if self.average else []
        extras += [f" + lr to {self.lr_end:g}"] if self.lr_end != 1 else []
        name = Path(self.recipe).name + "".join(extras)
        return f"{name}, memory {self.memory_size}" if self.memory_size else name

    @property
    def name(self) -> str:
        """How `ckd bench` calls it: benchmark/recipe-memory/seed, as in split-mnist/der++-200/seed3."""
        size = f"-{self.memory_size}" if self.memory_size else ""
        return f"{short_name(self.benchmark)}/{Path(self.recipe).name}{size}/seed{self.seed}"

    @property
    def folder(self) -> Path:
        """Where its result belongs, relative to the output folder: another setting, another folder."""
        usual = {
            "precision": "float32",
            "compiled": False,
            "average": 0.0,
            "lr_end": 1.0,
            "passes": 1,
            "evaluate_every": 0,
            "stream": "",
            "code": "",
        }  # added since, no new folder
        decided = {k: v for k, v in asdict(self).items() if k not in ("seed", "source") and usual.get(k, ...) != v}
        decided["benchmark"] = short_name(self.benchmark)
        decided["recipe"] = Path(self.recipe).name
        digest = hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()[:8]
        memory = f"-{self.memory_size}" if self.memory_size else ""
        recipe = Path(self.recipe).name.replace(":", "-")
        return Path(short_name(self.benchmark)) / f"{recipe}{memory}-{digest}" / f"seed{self.seed}"


def plan(
    benchmark: str,
    recipe: str,
    *,
    seed: int,
    memory_size: int = 200,
    n_experiences: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    network: str | None = None,
    samples_per_class: int | Literal["all"] | None = None,
    settings: dict[str, Any] | None = None,
    validate: bool = False,
    variant: str | None = None,
    precision: Literal["float32", "bfloat16"] = "float32",
    compiled: bool = False,
    average: float = 0.0,
    lr_end: float = 1.0,
    passes: int | None = None,
    evaluate_every: int = 0,
    stream: str | None = None,
) -> RunSpec:
    """Decide every hyper-parameter: what is given here, else the protocol table, else the recipe's defaults.

    `variant` names another protocol of the benchmark, such as "full" or "online" of split-cifar10.

    `evaluate_every` also measures accuracy within experiences, after every so many steps; it changes no other number.

    `stream` is what one's own arrays are made into: "split", "permuted" or "rotated".

    `samples_per_class="all"` trains on all data where the protocol takes a part.

    Raises:
        UnknownNameError: no such benchmark, recipe or hyper-parameter.
        ConfigError: a number that cannot work.
    """
    found, chosen = find(benchmark, stream), get(recipe)
    recipe = chosen.name
    remembers = "memory_size" in chosen.defaults
    if memory_size < 0:
        raise ConfigError("memory size", expected="a whole number from 0", received=memory_size, fix="Try 200.")
    rule = protocol(benchmark, recipe, memory_size, variant)
    for own in {"memory_size", "seed"} & (settings or {}).keys():
        raise ConfigError(
            "settings", expected="hyper-parameters of the recipe", received=own, fix="It has an argument of its own."
        )
    wanted = chosen.settings(**{**rule.settings, **(settings or {})})
    wanted = {k: v for k, v in wanted.items() if k not in ("memory_size", "seed")}
    given = {
        "epochs": epochs,
        "batch size": batch_size,
        "lr": lr,
        "network": network,
        "samples per class": samples_per_class,
        "passes": passes,
        **(settings or {}),
    }
    changed = [name for name, value in given.items() if value is not None]
    spec = RunSpec(
        benchmark=benchmark,
        recipe=recipe,
        seed=seed,
        memory_size=memory_size if remembers else 0,
        n_experiences=(rule.n_experiences or found.n_experiences or None) if n_experiences is None else n_experiences,
        epochs=rule.epochs if epochs is None else epochs,
        batch_size=rule.batch_size if batch_size is None else batch_size,
        lr=float(rule.lr if lr is None else lr),
        network=network or rule.network,
        samples_per_class=None if samples_per_class == "all" else samples_per_class or rule.samples_per_class,
        settings=wanted,
        validate=validate,
        precision=precision,
        compiled=compiled,
        average=average,
        lr_end=lr_end,
        passes=rule.passes if passes is None else passes,
        evaluate_every=evaluate_every,
        stream="" if stream in (None, "split") else stream,
        data=_digest(Path(benchmark) if benchmark.endswith(".npz") else source_file(benchmark)),
        code=_digest(source_file(recipe)),
        source=rule.source + (f"; changed: {', '.join(changed)}" if changed else ""),
    )
    if precision not in ("float32", "bfloat16"):
        raise UnknownNameError.of("precision", precision, ("float32", "bfloat16"))
    if spec.network not in NETWORKS:
        raise UnknownNameError.of("network", spec.network, NETWORKS)
    objective: Any = chosen.build(**wanted)  # refuses what cannot work before anything is trained
    if not isinstance(objective, Objective):
        fix = "End it with `return objective`."
        raise ConfigError(f"recipe {recipe!r}", expected="an Objective", received=repr(objective), fix=fix)
    if average:
        objective.with_average(average)
    if not 0 <= lr_end <= 1:
        raise ConfigError("end of the learning rate", expected="from 0 to 1", received=lr_end, fix="Try 0.1.")
    if not isinstance(evaluate_every, int) or evaluate_every < 0:
        expected, fix = "a whole number of steps, or 0 for none", "Try 10."
        raise ConfigError("evaluate every", expected=expected, received=evaluate_every, fix=fix)
    if spec.n_experiences is not None and spec.n_experiences < 1:
        raise ConfigError(
            "experiences", expected="1 or more", received=n_experiences, fix="Leave it out for the usual."
        )
    for name, value in (
        ("epochs", spec.epochs),
        ("batch size", spec.batch_size),
        ("passes", spec.passes),
        ("learning rate", spec.lr),
    ):
        if not value > 0:
            raise ConfigError(name, expected="above 0", received=value, fix="Leave it out to use the protocol's.")
    return spec


def _digest(file: Path | None) -> str:
    """A few letters that change with the file's content; none for no file."""
    if file is None:
        return ""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    except OSError as error:
        raise DataError(
            f"file {file}", expected="a file that can be read", received=error, fix="Check the path."
        ) from error
