"""The protocol table: how each recipe is trained on each benchmark, and who says so.

A row holds for the memory size it names and, where there is no row for a size, for the nearest one. What the table
does not say falls back on the benchmark's row and then on the recipe's own defaults.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ckd.errors import UnknownNameError

DER = "Buzzega et al. 2020, arXiv:2004.07211, supplementary tables of hyper-parameters"
CLS_ER = "Arani et al. 2022, arXiv:2201.12604, best_args of the authors' repository"
STABLE = "CLS-ER's stable average (Arani et al. 2022, arXiv:2201.12604)"
BFP = "Gu et al. 2023, arXiv:2303.14595, args of the authors' repository"
LIKE_DER = "DER++'s settings (Buzzega et al. 2020), the feature term as in Gu et al. 2023"
SURVEY_OF = "Soutif-Cormerais et al. 2023, arXiv:2308.10328, best_configs of the authors' repository:"
SURVEY = f"{SURVEY_OF} ER"
SURVEY_ACE = f"{SURVEY_OF} ER-ACE; half the rate, as the two weights sum to 1 there"
SURVEY_DER = f"{SURVEY_OF} DER, whose weight of stored logits is 2e-7"
MKD = (
    "Michel et al. 2024, arXiv:2309.02870, configuration of ER in the authors' repository; of the learning rates 0.02 "
    "and 0.06 the one whose training loss falls faster in 150 updates"
)
UNTUNED = "not tuned"
STUDIED = (
    "ckd tune at memory 200, on held-out training data with other permutations and seeds: benchmarks/results/studies"
)
RATE = "the recipe's own weights; of the learning rates 0.2 and 0.4 the better on held-out training data, one seed"
VALIDATED = (
    "chosen on held-out training data, memory 200, one seed, with the convnet and 3 epochs: "
    "benchmarks/results/split_cifar10.md"
)
BETTER_RATE = (
    "of the learning rates 0.03 and 0.1 the better on held-out training data, one or two seeds: "
    "benchmarks/results/split_mnist.md"
)
BALLAST = (
    "the recipe's own settings; of the learning rates 0.03 and 0.1 the better on held-out training data, three seeds: "
    "benchmarks/results/ballast_parts.md"
)


@dataclass(frozen=True)
class Protocol:
    """How a recipe is trained on a benchmark.

    Attributes:
        lr: learning rate of SGD.
        batch_size: samples in a mini-batch of the stream; memory draws are as large.
        epochs: passes over each experience.
        network: name of a network in `ckd.networks`.
        samples_per_class: training samples of each class; None for all.
        passes: updates with each mini-batch, one after the other.
        online: whether the stream shows each mini-batch once, and nothing sees an experience as a whole.
        stream: "shuffled" for classes in an order drawn from the seed; "" for the benchmark's own stream.
        n_experiences: of the stream; None for the benchmark's own number.
        momentum, weight_decay: of SGD.
        lr_end: share of the learning rate that is left at the end of each experience, or after a step.
        lr_steps: epochs of an experience after which the rate falls; none for a straight line.
        teacher: name of the network that teaches, where one is needed and none is named.
        settings: hyper-parameters of the recipe.
        source: where the values come from.
    """

    lr: float
    batch_size: int
    epochs: int
    network: str
    samples_per_class: int | None = None
    passes: int = 1
    online: bool = False
    stream: str = ""
    n_experiences: int | None = None
    momentum: float = 0.0
    weight_decay: float = 0.0
    lr_end: float = 1.0
    lr_steps: tuple[int, ...] = ()
    teacher: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    source: str = UNTUNED


_MNIST = Protocol(0.1, 128, 1, "mlp")
_DIGITS = Protocol(0.1, 16, 5, "mlp")
_AT_ONCE = Protocol(0.05, 64, 30, "tiny-resnet", momentum=0.9, weight_decay=5e-4, lr_end=0.0, teacher="wide-resnet")
_CRD = "Tian et al. 2020, arXiv:1910.10699, section 4"
_STEPS: dict[str, Any] = {"epochs": 240, "lr_end": 0.1, "lr_steps": (150, 180, 210)}
_FULL = replace(_AT_ONCE, **_STEPS, network="resnet8x4", teacher="resnet32x4", source=_CRD)
_TEXT = Protocol(0.1, 32, 20, "text-attention")
BENCHMARKS: dict[str, Protocol] = {
    "split-digits": _DIGITS,
    "permuted-digits": _DIGITS,
    "permuted-mnist": _MNIST,
    "rotated-mnist": _MNIST,
    "split-mnist": Protocol(0.03, 10, 1, "xavier-mlp"),
    "split-cifar10": Protocol(0.1, 32, 5, "small-resnet", 2000),  # three to five minutes on a CPU
    "split-cifar10, full": Protocol(0.03, 32, 50, "resnet18"),
    "split-cifar10, online": Protocol(0.03, 10, 1, "slim-resnet18", online=True),
    "split-cifar100": Protocol(0.03, 32, 3, "small-resnet"),
    "digits": replace(_AT_ONCE, epochs=20, network="small-mlp", teacher="small-resnet"),
    "mnist": replace(_AT_ONCE, epochs=5),
    "cifar10": replace(_AT_ONCE, epochs=15),
    "cifar100": _AT_ONCE,
    "cifar10, full": _FULL,
    "cifar100, full": _FULL,
    "split-cifar100, online": Protocol(
        0.06, 10, 1, "slim-resnet18", passes=3, online=True, stream="shuffled", n_experiences=20, source=SURVEY
    ),
    "sst2": _TEXT,
    "trec": _TEXT,
    "subj": _TEXT,
    "ag-news": replace(_TEXT, epochs=2),
    "ag-news-small": _TEXT,
}
"""What holds for every recipe of a benchmark, or of a variant of it, unless a row below says otherwise."""


def _average(
    consistency_weight: float, decay: float, rate: float, memory_batch_size: int | None = None
) -> dict[str, Any]:
    average = {"consistency_weight": consistency_weight, "decay": decay, "rate": rate}
    return {**average, "memory_batch_size": memory_batch_size}


def _averages(
    consistency_weight: float,
    plastic_decay: float,
    plastic_rate: float,
    stable_decay: float,
    stable_rate: float,
    memory_batch_size: int | None = None,
) -> dict[str, Any]:
    plastic = {"plastic_decay": plastic_decay, "plastic_rate": plastic_rate}
    stable = {"stable_decay": stable_decay, "stable_rate": stable_rate}
    return {"consistency_weight": consistency_weight, **plastic, **stable, "memory_batch_size": memory_batch_size}


ROWS: dict[tuple[str, str, int], tuple[float, dict[str, Any], str]] = {
    # (benchmark, recipe, memory size): (lr, settings, source)
    ("permuted-mnist", "naive", 0): (0.2, {}, DER),
    ("permuted-mnist", "joint", 0): (0.2, {}, DER),
    ("permuted-mnist", "er", 200): (0.2, {}, DER),
    ("permuted-mnist", "er", 500): (0.2, {}, DER),
    ("permuted-mnist", "er", 5120): (0.2, {}, DER),
    ("permuted-mnist", "der", 200): (0.2, {"alpha": 1.0}, DER),
    ("permuted-mnist", "der", 500): (0.2, {"alpha": 1.0}, DER),
    ("permuted-mnist", "der", 5120): (0.2, {"alpha": 0.5}, DER),
    ("permuted-mnist", "der++", 200): (0.1, {"alpha": 1.0, "beta": 1.0}, DER),
    ("permuted-mnist", "der++", 500): (0.2, {"alpha": 1.0, "beta": 0.5}, DER),
    ("permuted-mnist", "der++", 5120): (0.2, {"alpha": 0.5, "beta": 1.0}, DER),
    ("permuted-mnist", "ewc", 0): (0.2, {"anchor_weight": 2.5}, STUDIED),
    ("permuted-mnist", "tether", 200): (0.4, {}, RATE),
    ("permuted-mnist", "cls-er", 200): (0.2, _averages(1.0, 0.99, 1.0, 0.99, 0.8), CLS_ER),
    ("permuted-mnist", "cls-er", 5120): (0.2, _averages(1.0, 0.99, 1.0, 0.99, 0.9), CLS_ER),
    ("permuted-mnist", "mean-er", 200): (0.2, _average(1.0, 0.99, 0.8), STABLE),
    ("rotated-mnist", "naive", 0): (0.2, {}, DER),
    ("rotated-mnist", "er", 200): (0.2, {}, DER),
    ("rotated-mnist", "der", 200): (0.2, {"alpha": 1.0}, DER),
    ("rotated-mnist", "der", 500): (0.2, {"alpha": 0.5}, DER),
    ("rotated-mnist", "der++", 200): (0.1, {"alpha": 1.0, "beta": 0.5}, DER),
    ("rotated-mnist", "der++", 500): (0.2, {"alpha": 0.5, "beta": 1.0}, DER),
    ("rotated-mnist", "der++", 5120): (0.2, {"alpha": 0.5, "beta": 0.5}, DER),
    ("rotated-mnist", "cls-er", 200): (0.2, _averages(0.75, 0.99, 1.0, 0.999, 1.0), CLS_ER),
    ("rotated-mnist", "mean-er", 200): (0.2, _average(0.75, 0.999, 1.0), STABLE),
    ("rotated-mnist", "tether", 200): (0.4, {}, "the learning rate of permuted MNIST; not tuned"),
    ("split-mnist", "er", 200): (0.01, {}, DER),
    ("split-mnist", "er", 500): (0.1, {}, DER),
    ("split-mnist", "er", 5120): (0.1, {}, DER),
    ("split-mnist", "der", 200): (0.03, {"alpha": 0.2}, DER),
    ("split-mnist", "der", 500): (0.03, {"alpha": 1.0, "memory_batch_size": 128}, DER),
    ("split-mnist", "der", 5120): (0.1, {"alpha": 0.5, "memory_batch_size": 128}, DER),
    ("split-mnist", "der++", 200): (0.03, {"alpha": 0.2, "beta": 1.0, "memory_batch_size": 128}, DER),
    ("split-mnist", "der++", 500): (0.03, {"alpha": 1.0, "beta": 0.5}, DER),
    ("split-mnist", "der++", 5120): (0.1, {"alpha": 0.2, "beta": 0.5, "memory_batch_size": 64}, DER),
    ("split-mnist", "bfp", 200): (0.03, {"alpha": 0.2, "beta": 1.0, "memory_batch_size": 128}, LIKE_DER),
    ("split-mnist", "bfp", 500): (0.03, {"alpha": 1.0, "beta": 0.5}, LIKE_DER),
    ("split-mnist", "cls-er", 200): (0.03, _averages(2.0, 0.99, 1.0, 0.99, 0.9, 128), CLS_ER),
    ("split-mnist", "cls-er", 500): (0.1, _averages(2.0, 0.99, 1.0, 0.99, 0.9, 32), CLS_ER),
    ("split-mnist", "cls-er", 5120): (0.1, _averages(2.0, 0.99, 1.0, 0.99, 0.8, 32), CLS_ER),
    ("split-mnist", "lwf-mc", 0): (0.1, {}, BETTER_RATE),
    ("split-mnist", "fdr", 200): (0.1, {}, BETTER_RATE),
    ("split-mnist", "er-ace", 200): (0.1, {}, BETTER_RATE),
    ("split-mnist", "er-las", 200): (0.1, {}, BETTER_RATE),
    ("split-mnist", "lode", 200): (0.1, {}, BETTER_RATE),
    ("split-mnist", "x-der", 200): (0.1, {}, BETTER_RATE),
    ("split-mnist", "wa", 200): (0.1, {}, BETTER_RATE),
    ("split-mnist", "bic", 200): (0.1, {}, BETTER_RATE),
    ("split-mnist", "ss-il", 200): (0.1, {}, BETTER_RATE),
    ("split-mnist", "icarl", 200): (0.1, {}, BETTER_RATE),
    ("split-mnist", "ballast", 200): (0.1, {}, BALLAST),
    ("split-mnist", "self-distillation", 200): (0.1, {}, BALLAST),
    ("split-mnist", "mean-er", 200): (0.03, _average(2.0, 0.99, 0.9, 128), STABLE),
    ("split-mnist", "mean-er", 500): (0.1, _average(2.0, 0.99, 0.9, 32), STABLE),
    ("split-cifar10", "naive", 0): (0.1, {}, VALIDATED),
    ("split-cifar10", "lwf", 0): (0.03, {}, VALIDATED),
    ("split-cifar10", "er", 200): (0.03, {}, VALIDATED),
    ("split-cifar10", "er-ace", 200): (0.1, {}, VALIDATED),
    ("split-cifar10", "er-las", 200): (0.1, {}, VALIDATED),
    ("split-cifar10", "der++", 200): (0.1, {"alpha": 0.5, "beta": 1.0}, VALIDATED),
    ("split-cifar10", "lode", 200): (0.1, {"alpha": 0.5, "beta": 1.0}, VALIDATED),
    ("split-cifar10", "ser", 200): (0.1, {}, VALIDATED),
    ("split-cifar10", "x-der", 200): (0.1, {}, VALIDATED),
    ("split-cifar10", "wa", 200): (0.3, {}, VALIDATED),
    ("split-cifar10", "bic", 200): (0.1, {"held_out": 0.2}, VALIDATED),
    ("split-cifar10", "ss-il", 200): (0.1, {}, VALIDATED),
    ("split-cifar10", "icarl", 200): (0.1, {}, VALIDATED),
    ("split-cifar10", "bfp", 200): (0.1, {"alpha": 0.5, "beta": 1.0}, "DER++'s settings for this scale"),
    ("split-cifar10", "mean-er", 200): (0.1, _average(0.15, 0.99, 1.0), VALIDATED),
    ("split-cifar10", "cls-er", 200): (0.1, _averages(0.15, 0.98, 1.0, 0.99, 1.0), VALIDATED),
    ("split-cifar100, online", "er-ace", 2000): (0.012, {}, SURVEY_ACE),
    ("split-cifar100, online", "der++", 2000): (0.0135, {"alpha": 0.0, "beta": 1.74}, SURVEY_DER),
    ("split-cifar100, online", "mkd", 2000): (0.02, {}, MKD),
    ("split-cifar10, full", "naive", 0): (0.1, {}, DER),
    ("split-cifar10, full", "lwf", 0): (0.01, {"distill_weight": 0.75}, DER),  # 3 there, where the loss lacks T² = 4
    ("split-cifar10, full", "er", 200): (0.1, {}, DER),
    ("split-cifar10, full", "der", 200): (0.03, {"alpha": 0.3}, DER),
    ("split-cifar10, full", "der++", 200): (0.03, {"alpha": 0.1, "beta": 0.5}, DER),
    ("split-cifar10, full", "der++", 500): (0.03, {"alpha": 0.2, "beta": 0.5}, DER),
    ("split-cifar10, full", "der++", 5120): (0.03, {"alpha": 0.1, "beta": 1.0}, DER),
    ("split-cifar10, full", "bfp", 200): (0.03, {"alpha": 0.1, "beta": 0.5}, BFP),
    ("split-cifar10, full", "bfp", 500): (0.03, {"alpha": 0.2, "beta": 0.5}, BFP),
    ("split-cifar10, full", "cls-er", 200): (0.1, _averages(0.15, 0.999, 0.3, 0.999, 0.1), CLS_ER),
    ("split-cifar10, full", "cls-er", 500): (0.1, _averages(0.15, 0.999, 0.9, 0.999, 0.1), CLS_ER),
    ("split-cifar10, full", "cls-er", 5120): (0.1, _averages(0.15, 0.999, 1.0, 0.999, 0.8), CLS_ER),
    ("split-cifar10, full", "mean-er", 200): (0.1, _average(0.15, 0.999, 0.1), STABLE),
    ("split-cifar10, full", "mean-er", 5120): (0.1, _average(0.15, 0.999, 0.8), STABLE),
}


def protocol(benchmark: str, recipe: str, memory_size: int, variant: str | None = None) -> Protocol:
    """The protocol for `recipe` on `benchmark` with `memory_size` samples; for a benchmark of one's own, a guess.

    Raises:
        UnknownNameError: a `variant` that the benchmark does not have.
    """
    name = benchmark if variant is None else f"{benchmark}, {variant}"
    if variant is not None and name not in BENCHMARKS:
        raise UnknownNameError.of(f"protocol of {benchmark}", variant, variants(benchmark))
    base = BENCHMARKS.get(name, _DIGITS)
    sizes = [size for (b, r, size) in ROWS if (b, r) == (name, recipe)]
    if not sizes:
        return base
    nearest = min(sizes, key=lambda size: abs(size - memory_size))
    lr, settings, source = ROWS[name, recipe, nearest]
    return replace(base, lr=lr, settings=settings, source=source)


def variants(benchmark: str) -> list[str]:
    """Names of the other protocols of a benchmark."""
    return [name.split(", ")[1] for name in BENCHMARKS if name.startswith(f"{benchmark}, ")]
