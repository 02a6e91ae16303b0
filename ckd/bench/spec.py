"""What a run is: everything that decides its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ckd.bench.typed import check, check_fields
from ckd.names import short_name
from ckd.recipes import RECIPES, protocol
from ckd.recipes.protocols import variants


@dataclass(frozen=True)
class NetworkFile:
    """A trained network in a file.

    Attributes:
        network: its name, or where its function is.
        file: safetensors, as `ckd distil` writes them.
        digest: of the file's content.
    """

    network: str
    file: str
    digest: str

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> NetworkFile:
        """From what `asdict` made of it.

        Raises:
            TypeError: values of other types.
        """
        check_fields(cls, content)
        return cls(**content)


@dataclass(frozen=True)
class RunSpec:
    """One run: a recipe on a benchmark with a seed, every hyper-parameter decided.

    Attributes:
        benchmark, recipe: names, or where a function is.
        seed: of the stream, the network's initial weights, the shuffling and the memory.
        memory_size: samples remembered; 0 for recipes without a memory.
        n_experiences: None for the benchmark's own number.
        epochs, batch_size, lr, network: how it is trained, with SGD.
        samples_per_class: training samples of each class; None for all.
        settings: hyper-parameters of the recipe.
        validate: test on held-out training data.
        precision: "float32" or "bfloat16", the arithmetic of the network.
        compiled: whether the network is compiled.
        average: decay of an average of the weights that predicts in the student's place; 0 for none.
        lr_end: share of the learning rate that is left at the end of each experience, or after a step; 1 keeps it.
        lr_steps: epochs of an experience after which the rate falls; none for a straight line.
        passes: updates with each mini-batch, one after the other.
        online: whether the stream shows each mini-batch once, and nothing sees an experience as a whole.
        evaluate_every: steps from one evaluation within an experience to the next; 0 for none.
        stream: "shuffled" for classes in an order drawn from the seed, or what the arrays of a file of one's own are
            made into; "" for the benchmark's own, by classes in ascending order.
        momentum, weight_decay: of SGD.
        sparsity: share of the weights that are pruned while it trains.
        teachers: trained networks that teach, for recipes that need one: runs, or files; several are an ensemble.
        data: digest of the arrays' or the benchmark's file, for a file of one's own.
        code: digest of the recipe's file, for a file of one's own.
        network_code: digest of the network's file, for a file of one's own.
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
    online: bool = False
    evaluate_every: int = 0
    stream: str = ""
    momentum: float = 0.0
    weight_decay: float = 0.0
    sparsity: float = 0.0
    lr_steps: tuple[int, ...] = ()
    teachers: tuple[RunSpec | NetworkFile, ...] = ()
    data: str = ""
    code: str = ""
    network_code: str = ""
    source: str = ""

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> RunSpec:
        """From what `asdict` made of it, or a dictionary that holds that and more.

        Raises:
            TypeError: values of other types.
        """
        given = {name: content[name] for name in cls.__dataclass_fields__ if name in content}
        check_fields(cls, given)
        teachers, steps = given.pop("teachers", ()), tuple(given.pop("lr_steps", ()))
        for step in steps:
            check("lr_steps", step, int)
        return cls(
            **given, lr_steps=steps, teachers=tuple(NetworkFile.of(t) if "file" in t else cls.of(t) for t in teachers)
        )

    @property
    def label(self) -> str:
        """How the method is called in tables and plots; a function of one's own by its name alone."""
        extras = [f" + average {self.average:g}"] if self.average else []
        named = (None, *variants(self.benchmark))
        usual = [protocol(self.benchmark, self.recipe, self.memory_size, variant) for variant in named]
        falls = (self.lr_end, bool(self.lr_steps))
        extras += [f" + lr to {self.lr_end:g}"] if falls not in [(p.lr_end, bool(p.lr_steps)) for p in usual] else []
        extras += [" + online"] if self.online and not any(p.online for p in usual) else []
        extras += [f" + sparsity {self.sparsity:g}"] if self.sparsity else []
        function = self.recipe.rpartition(":")[2]
        called = function if function not in RECIPES else Path(self.recipe).name
        name = Path(called).name + "".join(extras)
        return f"{name}, memory {self.memory_size}" if self.memory_size else name

    @property
    def name(self) -> str:
        """How `ckd bench` calls it: benchmark/recipe-memory/seed, as in split-mnist/der++-200/seed3."""
        size = f"-{self.memory_size}" if self.memory_size else ""
        return f"{short_name(self.benchmark)}/{Path(self.recipe).name}{size}/seed{self.seed}"

    @property
    def folder(self) -> Path:
        """Where its result belongs, relative to the output folder: another setting, another folder."""
        decided = {k: v for k, v in asdict(self).items() if k not in ("seed", "source") and _ADDED.get(k, ...) != v}
        if self.teachers:
            decided["teachers"] = [str(t.folder) if isinstance(t, RunSpec) else t.digest for t in self.teachers]
        decided["benchmark"] = short_name(self.benchmark)
        decided["recipe"] = Path(self.recipe).name
        digest = hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()[:8]
        memory = f"-{self.memory_size}" if self.memory_size else ""
        recipe = Path(self.recipe).name.replace(":", "-")
        return Path(short_name(self.benchmark)) / f"{recipe}{memory}-{digest}" / f"seed{self.seed}"


_ADDED = {
    "precision": "float32",
    "compiled": False,
    "average": 0.0,
    "lr_end": 1.0,
    "passes": 1,
    "online": False,
    "evaluate_every": 0,
    "stream": "",
    "momentum": 0.0,
    "weight_decay": 0.0,
    "sparsity": 0.0,
    "lr_steps": (),
    "teachers": (),
    "code": "",
    "network_code": "",
}
"""Fields that were added since, with the values that do not change a folder."""
