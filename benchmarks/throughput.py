"""Milliseconds a step: ckd in Avalanche, plain torch twice, and stock Avalanche, interleaved in one process.

    python benchmarks/throughput.py --data-root D                              # MLP on permuted MNIST
    python benchmarks/throughput.py --benchmark split-cifar10 --data-root D    # SlimResNet18
    python benchmarks/throughput.py --method der++ --no-stock --rounds 11 --json throughput.json
    python benchmarks/throughput.py --method der++ --protocol                  # 20 experiences, 20 test sets after each

Every contender learns one experience a round, in turn; the first round, without memory and teacher, does not count. A
figure is the median over rounds, a ratio the median of the rounds' ratios. Evaluation is of one test experience.
"""

import argparse
import copy
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from avalanche.benchmarks.classic import PermutedMNIST, SplitCIFAR10
from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training import DER, Naive
from avalanche.training.plugins import EvaluationPlugin, LwFPlugin, ReplayPlugin
from plain_torch import Person, Settings, Tight
from rich.console import Console
from rich.table import Table
from torch import nn

from ckd import AccuracyRecorder, SelfDistillation, recipes
from ckd.bench.allocator import keep_freed_memory
from ckd.bench.networks import network
from ckd.data import TensorStream, as_benchmark, tensor_stream
from ckd.data.experience import TensorExperience
from ckd.recipes import protocol

METHODS = ("naive", "er", "lwf", "der++")
MEMORY = 200
NAMES = ("plain", "tight", "ckd", "stock")
HEADS = (*NAMES, "ckd / plain", "ckd / tight", "stock / ckd", "evaluation: ckd / tight", "stock / ckd")


@dataclass(frozen=True)
class Problem:
    """A stream and a network; `stock_steps` of each experience are given to stock Avalanche, which is slow."""

    name: str
    network: str
    batch_size: int
    rounds: int
    stock_steps: int
    evaluation_batch: int
    factory: Callable[..., Any]
    samples_per_class: int | None = None


PROBLEMS = {
    "permuted-mnist": Problem("permuted-mnist", "mlp", 128, 8, 40, 1000, PermutedMNIST),
    "split-cifar10": Problem("split-cifar10", "slim-resnet18", 32, 5, 10, 100, SplitCIFAR10, 160),
}


@dataclass
class Contender:
    """Learns training experience i in `steps` steps, and evaluates test experience i; milliseconds by round."""

    learn: Callable[[int], Any]
    evaluate: Callable[[int], Any]
    steps: int
    step: list[float] = field(default_factory=list)
    evaluation: list[float] = field(default_factory=list)


class StopAfter(SupervisedPlugin):  # type: ignore[misc]
    """Ends an experience after `n` steps, for contenders that need minutes for a whole one."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = self.left = n

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Count anew."""
        self.left = self.n

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Count down."""
        self.left -= 1
        if self.left == 0:
            strategy.stop_training()


def samples_of(experience: TensorExperience) -> torch.Tensor:
    """Its raw samples (N, ...)."""
    return experience.raw() if experience.rows is None else experience.raw().index_select(0, experience.rows)


def contenders(problem: Problem, method: str, chosen: argparse.Namespace) -> dict[str, Contender]:
    """All that can do `method`, from the same initial weights."""
    rule = protocol(problem.name, method, MEMORY)

    def new_stream() -> TensorStream:  # each contender changes samples in a workspace of its own
        return tensor_stream(
            problem.name,
            n_experiences=problem.rounds,
            data_root=chosen.data_root,
            samples_per_class=problem.samples_per_class,
        )

    stream = new_stream()
    initial = network(problem.network, stream.input_shape, stream.n_classes)
    weights = {k: v for k, v in rule.settings.items() if k in ("alpha", "beta")}
    settings = Settings(method, rule.lr, problem.batch_size, MEMORY, **weights)
    tests = [(samples_of(e).clone(), e.targets) for e in stream.test]
    steps = -(-len(stream.train[0]) // problem.batch_size)

    def plain(kind: type[Person]) -> Contender:
        stream = new_stream()
        random = stream.prepare_train.random
        prepare = stream.prepare_train if random else stream.prepare_test
        learner = kind(copy.deepcopy(initial), settings, stream.prepare_test, prepare)
        return Contender(
            lambda i: learner.train(samples_of(stream.train[i]), stream.train[i].targets),
            lambda i: learner.evaluate(*tests[i], problem.evaluation_batch),
            steps,
        )

    def avalanche(kind: Any, benchmark: Any, n: int, evaluator: Any, plugins: list[Any], **more: Any) -> Contender:
        model = copy.deepcopy(initial)
        strategy = kind(
            model=model,
            optimizer=torch.optim.SGD(model.parameters(), lr=rule.lr),
            criterion=nn.CrossEntropyLoss(),
            train_mb_size=problem.batch_size,
            eval_mb_size=problem.evaluation_batch,
            plugins=plugins,
            evaluator=evaluator,
            **more,
        )
        return Contender(
            lambda i: strategy.train(benchmark.train_stream[i]), lambda i: strategy.eval(benchmark.test_stream[i]), n
        )

    size = {"memory_size": MEMORY} if method in ("er", "der++") else {}
    objective = recipes.get(method).build(**size, **weights)
    found = {
        "plain": plain(Person),
        "tight": plain(Tight),
        "ckd": avalanche(Naive, as_benchmark(stream), steps, AccuracyRecorder(), [SelfDistillation(objective)]),
    }
    if chosen.stock:
        stop = StopAfter(problem.stock_steps)
        factory = problem.factory(n_experiences=problem.rounds, dataset_root=chosen.data_root, seed=0)
        evaluator = EvaluationPlugin(accuracy_metrics(experience=True), loggers=[])
        common = (factory, problem.stock_steps, evaluator)
        if method == "der++":
            more = {"mem_size": MEMORY, "batch_size_mem": problem.batch_size, **weights}
            found["stock"] = avalanche(DER, *common, [stop], **more)
        else:
            replay = ReplayPlugin(MEMORY, batch_size_mem=problem.batch_size)
            own = {"naive": [], "er": [replay], "lwf": [LwFPlugin()]}[method]
            found["stock"] = avalanche(Naive, *common, [*own, stop])
    return found


def measure(found: dict[str, Contender], rounds: int, warm_up: int = 1) -> None:
    """Let each learn and evaluate one experience a round, in turn; the order turns with the round."""
    names = list(found)
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            contender = found[name]
            learnt, evaluated = _seconds(contender.learn, i), _seconds(contender.evaluate, i)
            if i >= warm_up:
                contender.step.append(1000 * learnt / contender.steps)
                contender.evaluation.append(1000 * evaluated)


def _seconds(act: Callable[[int], Any], i: int) -> float:
    start = time.perf_counter()
    act(i)
    return time.perf_counter() - start


def whole_protocol(found: dict[str, Contender], rounds: int, console: Console) -> None:
    """Learn every experience and evaluate all test experiences after each; the contenders take turns."""
    seconds = dict.fromkeys(found, 0.0)
    for i in range(rounds):
        for name, contender in found.items():
            seconds[name] += _seconds(contender.learn, i) + sum(_seconds(contender.evaluate, j) for j in range(rounds))
    for name, spent in seconds.items():
        console.print(f"{name}: {spent:.1f} s; ckd / {name}: {seconds['ckd'] / spent:.2f}", highlight=False)


def ratio(one: list[float], other: list[float]) -> float:
    """The median over rounds of one / other."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmark", choices=PROBLEMS, default="permuted-mnist", help="(default: %(default)s)")
    parser.add_argument("--method", choices=METHODS, action="append", help="(default: all)")
    parser.add_argument("--no-stock", dest="stock", action="store_false", help="leave out stock Avalanche")
    parser.add_argument("--protocol", action="store_true", help="time a whole run instead, without stock Avalanche")
    parser.add_argument("--rounds", type=int, metavar="N", help="experiences that each contender learns")
    parser.add_argument("--data-root", metavar="D", help="where data sets are kept (default: ~/.cache/ckd)")
    parser.add_argument("--json", metavar="FILE", help="write the figures of every round")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    problem = PROBLEMS[chosen.benchmark]
    console = Console(width=120)
    if chosen.protocol:
        chosen.stock, chosen.rounds = False, chosen.rounds or {"permuted-mnist": 20}.get(problem.name)
    if chosen.rounds:
        problem = replace(problem, rounds=chosen.rounds)
    table = Table("method", *HEADS, title=f"{problem.name}, {problem.network}, batch {problem.batch_size}")
    figures: dict[str, Any] = {}
    for method in chosen.method or METHODS:
        torch.manual_seed(0)
        found = contenders(problem, method, chosen)
        if chosen.protocol:
            console.print(f"{method}, {problem.name}, {problem.rounds} experiences", highlight=False)
            whole_protocol(found, problem.rounds, console)
            continue
        measure(found, problem.rounds)
        figures[method] = {k: {"ms a step": c.step, "ms an evaluation": c.evaluation} for k, c in found.items()}
        cells = [f"{statistics.median(found[name].step):.2f}" if name in found else "" for name in NAMES]
        cells += [f"{ratio(found['ckd'].step, found[name].step):.2f}" for name in ("plain", "tight")]
        cells += [f"{ratio(found['stock'].step, found['ckd'].step):.1f}" if "stock" in found else ""]
        cells += [f"{ratio(found['ckd'].evaluation, found['tight'].evaluation):.2f}"]
        cells += [f"{ratio(found['stock'].evaluation, found['ckd'].evaluation):.1f}" if "stock" in found else ""]
        table.add_row(method, *cells)
    if figures:
        console.print(table)
    if chosen.json:
        machine = {"machine": platform.machine(), "torch": torch.__version__, "threads": torch.get_num_threads()}
        Path(chosen.json).write_text(json.dumps({**machine, "problem": problem.name, "rounds": figures}, indent=1))


if __name__ == "__main__":
    main()
