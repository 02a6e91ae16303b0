"""Deciding what a run is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch import nn

from ckd.bench.spec import NetworkFile, RunSpec
from ckd.data.registry import find
from ckd.errors import ConfigError, DataError, UnknownNameError
from ckd.modules import source_file
from ckd.networks import check_network, layer_pairs
from ckd.numbers import check_number, check_whole
from ckd.objective import Objective
from ckd.objective.check import Check
from ckd.recipes import LAST_STAGE, Protocol, Recipe, get, pairs, protocol
from ckd.teachers import Fixed


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
    lr_end: float | None = None,
    passes: int | None = None,
    online: bool | None = None,
    evaluate_every: int = 0,
    stream: str | None = None,
    momentum: float | None = None,
    weight_decay: float | None = None,
    sparsity: float = 0.0,
    lr_steps: Sequence[int] | None = None,
    teachers: Sequence[RunSpec | NetworkFile] = (),
) -> RunSpec:
    """Decide every hyper-parameter: what is given here, else the protocol table, else the recipe's defaults.

    `variant` names another protocol of the benchmark, such as "full" or "online" of split-cifar10.

    `evaluate_every` also measures accuracy within experiences, after every so many steps; it changes no other number.

    `stream` is what one's own arrays are made into: "split", "shuffled", "permuted" or "rotated". "shuffled" also gives
    the classes of split benchmarks an order drawn from the seed, and "split" keeps them in ascending order.

    `teachers` are for recipes that need one: trained networks, as runs or files; several are an ensemble.

    `sparsity` is the share of the weights that is pruned while the network trains.

    `lr_steps` are epochs after which the learning rate falls to `lr_end` times what it was, a tenth unless given. The
    protocol's keep their place in a training of other epochs.

    `online` streams show each mini-batch once, in one epoch: ballast's memory takes samples as they come, and recipes
    that need an experience as a whole when it ends, such as iCaRL, are refused.

    `samples_per_class="all"` trains on all data where the protocol takes a part.

    Raises:
        UnknownNameError: no such benchmark, recipe or hyper-parameter.
        ConfigError: a number that cannot work.
    """
    epochs = 1 if online and epochs is None else epochs
    found, chosen = find(benchmark, stream), get(recipe)
    recipe = chosen.name
    remembers = "memory_size" in chosen.defaults
    check_whole("seed", seed, fix="Take 0, 1, 2, ...")
    check_whole("memory size", memory_size, fix="Try 200.")
    if lr is not None:
        check_number("learning rate", lr, fits="above 0", fix=USUAL)
    if samples_per_class not in (None, "all"):
        check_whole("samples per class", samples_per_class, least=1, fix="Leave it out, or write all.")
    rule = protocol(benchmark, recipe, memory_size, variant)
    student = rule.network if network is None else network
    samples = rule.samples_per_class if samples_per_class is None else samples_per_class
    for own in {"memory_size", "seed"} & (settings or {}).keys():
        raise ConfigError(
            "settings", expected="hyper-parameters of the recipe", received=own, fix="It has an argument of its own."
        )
    wanted = chosen.settings(**{**rule.settings, **(settings or {})})
    wanted = {k: v for k, v in wanted.items() if k not in ("memory_size", "seed", "steps")}
    if "layers" in wanted and teachers:
        wanted["layers"] = _layers(wanted["layers"], student, teachers)
    given = {
        "epochs": epochs,
        "batch size": batch_size,
        "lr": lr,
        "network": network,
        "samples per class": samples_per_class,
        "passes": passes,
        "online": online,
        "momentum": momentum,
        "weight decay": weight_decay,
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
        network=student,
        samples_per_class=None if samples == "all" else samples,
        settings=wanted,
        validate=validate,
        precision=precision,
        compiled=compiled,
        average=average,
        lr_end=(TENTH if lr_steps else rule.lr_end) if lr_end is None else lr_end,
        passes=rule.passes if passes is None else passes,
        online=rule.online if online is None else online,
        evaluate_every=evaluate_every,
        stream=rule.stream if stream is None else "" if stream == "split" else stream,
        momentum=rule.momentum if momentum is None else momentum,
        weight_decay=rule.weight_decay if weight_decay is None else weight_decay,
        sparsity=sparsity,
        lr_steps=_steps(rule, epochs) if lr_steps is None else tuple(lr_steps),
        teachers=tuple(teachers),
        data=digest(Path(benchmark) if benchmark.endswith(".npz") else source_file(benchmark)),
        code=digest(source_file(recipe)),
        network_code=digest(source_file(student)),
        source=rule.source + (f"; changed: {', '.join(changed)}" if changed else ""),
    )
    if precision not in ("float32", "bfloat16"):
        raise UnknownNameError.of("precision", precision, ("float32", "bfloat16"))
    check_network(spec.network)
    _check_teachers(chosen, spec)
    _check_order(chosen, spec)
    objective: Any = _objective(chosen, spec)  # refuses what cannot work before anything is trained
    if not isinstance(objective, Objective):
        fix = "End it with `return objective`."
        raise ConfigError(f"recipe {recipe!r}", expected="an Objective", received=repr(objective), fix=fix)
    _check_numbers(spec)
    if spec.online:
        Check(objective.name).online(objective.memory)
    if average:
        objective.with_average(average)
    return spec


USUAL = "Leave it out to use the protocol's."

TENTH = 0.1
"""What each step leaves of the learning rate unless it is said."""


def _steps(rule: Protocol, epochs: int | None) -> tuple[int, ...]:
    """The steps of a protocol in a training of so many epochs, those that come before its end."""
    last = rule.epochs if epochs is None else epochs
    scaled = {step * last // rule.epochs for step in rule.lr_steps}
    return tuple(sorted(step for step in scaled if 1 <= step < last))


def _check_numbers(spec: RunSpec) -> None:
    """Refuse numbers that cannot work."""
    for what, value, least in (
        ("epochs", spec.epochs, 1),
        ("batch size", spec.batch_size, 1),
        ("passes", spec.passes, 1),
        ("experiences", spec.n_experiences, 1),
        ("evaluate every", spec.evaluate_every, 0),
    ):
        if value is not None:
            check_whole(what, value, least=least, fix=USUAL if least else "0 is for none.")
    if spec.online and spec.epochs != 1:
        expected = "1 in an online stream, which shows each mini-batch once"
        fix = "Give 1 epoch, and more passes for more updates, or ask for a stream that is not online (--no-online)."
        raise ConfigError("epochs", expected=expected, received=spec.epochs, fix=fix)
    check_number("end of the learning rate", spec.lr_end, fits="from 0 to 1", fix="Try 0.1.")
    for step in spec.lr_steps:
        fix = "Name epochs after which others come, as 150,180,210 of 240."
        check_whole("epoch of a step of the learning rate", step, least=1, most=spec.epochs - 1, fix=fix)
    check_number("average", spec.average, fits="from 0 to below 1", fix="Try 0.99.")
    check_number("sparsity", spec.sparsity, fits="from 0 to below 1", fix="Try 0.9.")
    check_number("momentum", spec.momentum, fits="from 0 to below 1", fix="Try 0.9.")
    check_number("weight decay", spec.weight_decay, fix="Try 0.0005.")


def _check_teachers(recipe: Recipe, spec: RunSpec) -> None:
    """Refuse a recipe that needs a teacher and has none, or the reverse."""
    wants = recipe.teacher in ("given", "past")
    if wants and not spec.teachers:
        fix = "Use `ckd distil`, or give plan(..., teachers=[...]) runs or files of trained networks."
        raise ConfigError(f"recipe {recipe.name}", expected="a trained teacher", received="none", fix=fix)
    if spec.teachers and not wants:
        received = f"{len(spec.teachers)} teacher{'s' * (len(spec.teachers) > 1)}"
        raise ConfigError(f"recipe {recipe.name}", expected="no teacher", received=received, fix="Choose kd.")


def _check_order(recipe: Recipe, spec: RunSpec) -> None:
    """Refuse classes in an order of the seed where all come at once, or where a teacher has learnt other numbers."""
    if spec.stream != "shuffled":
        return
    if spec.teachers:
        fix = "Leave out --stream, so that all seeds number the classes alike."
        received = "classes numbered in an order of the seed"
        raise ConfigError(f"stream of {recipe.name}", expected="the teacher's labels", received=received, fix=fix)
    if spec.n_experiences == 1:
        fix = "Leave out --stream shuffled: with all classes at once there is no order."
        raise ConfigError("stream", expected="the benchmark's own", received="shuffled, one experience", fix=fix)


def _objective(recipe: Recipe, spec: RunSpec) -> Objective:
    """The objective, with a stand-in for a teacher, whose network need not be there yet."""
    stand_in = [Fixed(nn.Identity())] if recipe.teacher else []
    return recipe.build(*stand_in, **spec.settings)


def _layers(asked: str, student: str, teachers: Sequence[RunSpec | NetworkFile]) -> str:
    """The pairs of layers that are matched, as text: those asked for, or the networks' stages, or the last of these."""
    if len(teachers) > 1:
        expected, received = "one teacher, whose layers can be matched", f"an ensemble of {len(teachers)}"
        raise ConfigError("layers to match", expected=expected, received=received, fix="Choose kd, or one teacher.")
    known = asked in ("", LAST_STAGE)
    found = list((layer_pairs(student, teachers[0].network) if known else pairs(asked)).items())
    return ", ".join(f"{ours}={theirs}" for ours, theirs in (found[-1:] if asked == LAST_STAGE else found))


def digest(file: Path | None) -> str:
    """A few letters that change with the file's content; none for no file."""
    if file is None:
        return ""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    except OSError as error:
        raise DataError(
            f"file {file}", expected="a file that can be read", received=error, fix="Check the path."
        ) from error
