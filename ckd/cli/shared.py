"""What several commands take, and what becomes of it."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from ckd.errors import ConfigError, UnknownNameError
from ckd.modules import is_path
from ckd.names import known_as

if TYPE_CHECKING:
    from ckd.bench import RayCluster


def add_jobs(command: argparse.ArgumentParser) -> None:
    """How many runs at a time, and where."""
    either = command.add_mutually_exclusive_group()
    text = "runs at a time, for runs of minutes: a core for each (default: 1)"
    either.add_argument("--jobs", type=int, default=1, metavar="N", help=text)
    text = "on a Ray cluster, as many at a time as it has room for (default: the one of this machine, or a new one)"
    either.add_argument("--ray", nargs="?", const="", metavar="ADDRESS", help=text)
    text = "with --ray: CPUs that a run reserves (default: 1)"
    command.add_argument("--cpus-per-run", type=float, metavar="N", help=text)
    text = "with --ray and --device cuda: GPUs that a run reserves; 0.5: two runs share one"
    command.add_argument("--gpus-per-run", type=float, metavar="N", help=text)


def add_finished(command: argparse.ArgumentParser) -> None:
    """What becomes of runs that are finished already."""
    either = command.add_mutually_exclusive_group()
    either.add_argument("--force", action="store_true", help="run again what is finished")
    either.add_argument("--keep", action="store_true", help="use what is finished even if other code made it")


def add_checkpoints(command: argparse.ArgumentParser) -> None:
    """How often a run is saved while it is under way."""
    text = "save a run every N training steps too (default: after experiences alone, in at most 2 percent of its time)"
    command.add_argument("--checkpoint-every", type=int, default=0, metavar="N", help=text)


def add_divergence(command: argparse.ArgumentParser) -> None:
    """What becomes of the other runs when one diverges."""
    text = "after a run whose loss or weights are NaN: go on with the others and mark it, or stop (default: skip)"
    command.add_argument("--on-divergence", choices=("skip", "stop"), default="skip", help=text)


def add_deterministic(command: argparse.ArgumentParser) -> None:
    """Whether every bit is to be the same again."""
    text = "the same numbers, bit for bit, at every call on the same machine, whatever the jobs and the threads"
    command.add_argument("--deterministic", action="store_true", help=text)


def add_track(command: argparse.ArgumentParser) -> None:
    """What follows the runs."""
    text = "follow the runs with tensorboard, wandb or csv, in a folder beside each result; may be given again"
    command.add_argument("--track", action="append", default=[], metavar="NAME", help=text)


def add_stream(command: argparse.ArgumentParser) -> None:
    """How a stream is learnt."""
    command.add_argument("--memory-size", type=int, default=200, metavar="N", help="samples remembered (default: 200)")
    command.add_argument("--experiences", type=int, metavar="N", help="experiences in the stream")
    command.add_argument("--network", metavar="NAME", help=NETWORK)
    text = "each mini-batch is shown once, in one epoch; recipes that need experiences as a whole are refused"
    command.add_argument("--online", action=argparse.BooleanOptionalAction, help=text)
    add_training(command)


def add_training(command: argparse.ArgumentParser) -> None:
    """How and where something is trained."""
    command.add_argument("--data-root", metavar="D", help="where data sets are kept (default: ~/.cache/ckd)")
    command.add_argument("--out", metavar="DIR", help="where results go (default: a folder of the data's name in runs)")
    command.add_argument("--epochs", type=int, metavar="E", help="passes over the data of each experience")
    text = "order of a split benchmark's classes: split (ascending, the default) or shuffled (drawn from the seed); "
    text += "your own arrays can also be permuted or rotated"
    command.add_argument("--stream", metavar="NAME", help=text)
    command.add_argument("--batch-size", type=int, metavar="B", help="samples in a mini-batch")
    command.add_argument("--lr", type=float, metavar="L", help="learning rate of SGD")
    text = "lower the rate to S times its value in each experience"
    command.add_argument("--lr-end", type=float, metavar="S", help=text)
    text = "lower it in steps, after each of these epochs to S times what it was (0.1), instead of in a line"
    command.add_argument("--lr-steps", type=steps, metavar="E,...", help=text)
    command.add_argument("--momentum", type=float, metavar="M", help="of SGD")
    command.add_argument("--weight-decay", type=float, metavar="W", help="of SGD")
    command.add_argument("--samples-per-class", type=count, metavar="N", help="training samples of each class, or all")
    text = "a hyper-parameter of the recipes that have it"
    command.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=text)
    command.add_argument("--protocol", metavar="NAME", help="another protocol of the benchmark: full or online")
    text = "float32 or bfloat16 (default: float32)"
    command.add_argument("--precision", default="float32", metavar="NAME", help=text)
    command.add_argument("--compile", action="store_true", help="compile the network with torch.compile")
    text = "evaluate with an average of the weights, of decay A; for recipes that have none of their own"
    command.add_argument("--average", type=float, default=0.0, metavar="A", help=text)
    command.add_argument("--passes", type=int, metavar="K", help="updates with each mini-batch, one after the other")
    command.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")


NETWORK = "a name from `ckd list`, or package.module:function or FILE.py:function of your own"


def count(text: str) -> int | Literal["all"]:
    """A number, or all."""
    return "all" if text == "all" else int(text)


def steps(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between them."""
    return tuple(int(one) for one in text.split(",") if one)


def cluster_of(arguments: argparse.Namespace) -> RayCluster | None:
    """Where the runs are done, as `add_jobs` added it; None for here."""
    reserved = {"cpus": arguments.cpus_per_run, "gpus": arguments.gpus_per_run}
    reserved = {name: share for name, share in reserved.items() if share is not None}
    if arguments.ray is None:
        if reserved:
            received = ", ".join(f"--{name}-per-run" for name in reserved)
            raise ConfigError("a run's share", expected="--ray", received=received, fix="Add --ray, or leave it out.")
        return None
    from ckd.bench import RayCluster

    return RayCluster(arguments.ray or None, **reserved)


def check_names(benchmark: str, recipes: Sequence[str], *networks: str | None) -> None:
    """Refuse names that are misspelt, before what takes seconds is imported; files and modules are looked at later."""
    from ckd import catalogue

    named_by_path = benchmark.endswith(".npz") or is_path(benchmark)
    if not named_by_path and benchmark not in (names := [b.name for b in catalogue.benchmarks()]):
        raise UnknownNameError.of("benchmark", benchmark, [*names, "FILE.npz"])
    names = [r.name for r in catalogue.recipes()]
    for recipe in recipes:
        if not is_path(recipe) and known_as(recipe, names) is None:
            raise UnknownNameError.of("recipe", recipe, names)
    known = catalogue.networks()
    for network in networks:
        if network is None or network in known or is_path(network) or is_file(network):
            continue
        if network.endswith((".pt", ".pth", ".bin", ".ckpt")):
            fix = "Write one with safetensors.torch.save_file(model.state_dict(), 'network.safetensors')."
            raise ConfigError("network", expected="FILE.safetensors; no pickle is read", received=network, fix=fix)
        raise UnknownNameError.of("network", network, [*known, "FILE.py:function", "FILE.safetensors"])


def is_file(network: str) -> bool:
    """Whether this is a file with a trained network."""
    return network.endswith(".safetensors")


def stream_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `add_stream` added, as arguments of `plan`."""
    return {
        "memory_size": arguments.memory_size,
        "n_experiences": arguments.experiences,
        "network": arguments.network,
        "online": arguments.online,
        **training_of(arguments),
    }


def running_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What says where and how runs are done, as arguments of `run_suite` and `run_all`."""
    names = (
        "data_root",
        "device",
        "jobs",
        "force",
        "keep",
        "track",
        "checkpoint_every",
        "on_divergence",
        "deterministic",
    )
    return {"cluster": cluster_of(arguments), **{name: getattr(arguments, name) for name in names}}


def training_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `add_training` added, as arguments of `plan`."""
    return {
        "epochs": arguments.epochs,
        "batch_size": arguments.batch_size,
        "lr": arguments.lr,
        "lr_end": arguments.lr_end,
        "lr_steps": arguments.lr_steps,
        "momentum": arguments.momentum,
        "weight_decay": arguments.weight_decay,
        "samples_per_class": arguments.samples_per_class,
        "variant": arguments.protocol,
        "precision": arguments.precision,
        "compiled": arguments.compile,
        "average": arguments.average,
        "passes": arguments.passes,
        "stream": arguments.stream,
    }


def settings_of(given: Sequence[str], recipes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The hyper-parameters of `--set` for each recipe that has them.

    Raises:
        ConfigError: text that is no setting, or one that has an option of its own.
        UnknownNameError: a name that none of the recipes has.
    """
    from ckd.recipes import get

    settings = dict(map(setting, given))
    mine = {r: {k: v for k, v in settings.items() if k in get(r).defaults} for r in recipes}
    known = {k for r in recipes for k in get(r).defaults if k not in ("memory_size", "seed", "steps")}
    for name in settings.keys() & {"memory_size", "seed"}:
        option = "--memory-size" if name == "memory_size" else "--seeds"
        raise ConfigError("--set", expected="a hyper-parameter", received=name, fix=f"Use {option}.")
    for name in settings.keys() - known:
        raise UnknownNameError.of(f"hyper-parameter of {', '.join(recipes)}", name, known)
    return mine


def setting(text: str) -> tuple[str, Any]:
    """Name and value of `NAME=VALUE`.

    Raises:
        ConfigError: other text.
    """
    name, equals, value = text.partition("=")
    try:
        if equals:
            return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        pass
    raise ConfigError("--set", expected="NAME=NUMBER", received=repr(text), fix="For example --set alpha=0.3.")


def own_process() -> None:
    """One thread, as the networks are small and more only wait for each other; and freed memory is kept."""
    import torch

    from ckd.bench.allocator import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
