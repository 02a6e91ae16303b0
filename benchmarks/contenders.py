"""Who is compared in throughput.py: plain torch twice, ckd in its own loop and in Avalanche, and stock Avalanche."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from avalanche.benchmarks.classic import PermutedMNIST, SplitCIFAR10
from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training import DER, Naive
from avalanche.training.plugins import EvaluationPlugin, LwFPlugin, ReplayPlugin
from plain_torch import OwnLoop, Person, Settings, Tight
from torch import nn

from ckd import AccuracyRecorder, Engine, Objective, SelfDistillation, recipes
from ckd.data import TensorStream, as_benchmark, tensor_stream
from ckd.data.experience import TensorExperience
from ckd.networks import network
from ckd.recipes import protocol

METHODS = ("naive", "er", "lwf", "der++")
NAMES = ("plain", "tight", "engine", "ckd", "stock")
MEMORY = 200


@dataclass(frozen=True)
class Problem:
    """A stream and a network; `stock_steps` of each experience are given to stock Avalanche, which is slow."""

    name: str
    network: str
    batch_size: int
    rounds: int
    stock_steps: int
    evaluation_batch: int
    factory: Callable[..., Any] | None = None
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
    device: torch.device
    strategy: Any = None
    step: list[float] = field(default_factory=list)
    evaluation: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Setting:
    """What all contenders share; a contender is made from it alone, with data and initial weights of its own."""

    problem: Problem
    method: str
    data_root: str | None
    device: torch.device

    def contender(self, name: str) -> Contender:
        """One of `NAMES`, always with the same initial weights."""
        stream = self._stream()
        torch.manual_seed(0)
        model = network(self.problem.network, stream.input_shape, stream.n_classes).to(self.device)
        if name in ("plain", "tight"):
            return self._plain({"plain": Person, "tight": Tight}[name], model, stream)
        if name == "engine":
            return self._engine(model, stream)
        return self._ckd(model, stream) if name == "ckd" else self._stock(model)

    def _stream(self) -> TensorStream:
        return tensor_stream(
            self.problem.name,
            n_experiences=self.problem.rounds,
            data_root=self.data_root,
            samples_per_class=self.problem.samples_per_class,
        )

    @property
    def _lr(self) -> float:
        return protocol(self.problem.name, self.method, MEMORY).lr

    @property
    def _weights(self) -> dict[str, float]:
        settings = protocol(self.problem.name, self.method, MEMORY).settings
        return {name: value for name, value in settings.items() if name in ("alpha", "beta")}

    def _plain(self, kind: type[Person], model: nn.Module, stream: TensorStream) -> Contender:
        settings = Settings(self.method, self._lr, self.problem.batch_size, MEMORY, **self._weights)
        prepare = stream.prepare_train if stream.prepare_train.random else stream.prepare_test
        return self._plain_contender(kind(model, settings, stream.prepare_test, prepare), stream)

    def _plain_contender(self, learner: Person, stream: TensorStream) -> Contender:
        tests = [(_samples(e).clone().to(self.device), e.targets.to(self.device)) for e in stream.test]
        return Contender(
            lambda i: learner.train(_samples(stream.train[i]), stream.train[i].targets),
            lambda i: learner.evaluate(*tests[i], self.problem.evaluation_batch),
            -(-len(stream.train[0]) // self.problem.batch_size),
            self.device,
        )

    def _objective(self) -> Objective:
        size = {"memory_size": MEMORY} if self.method in ("er", "der++") else {}
        return recipes.get(self.method).build(**size, **self._weights)

    def _engine(self, model: nn.Module, stream: TensorStream) -> Contender:
        prepare = stream.prepare_train if stream.prepare_train.random else stream.prepare_test
        settings = Settings(self.method, self._lr, self.problem.batch_size, MEMORY)
        learner = OwnLoop(model, Engine(self._objective(), prepare=prepare), settings, stream.prepare_test, prepare)
        return self._plain_contender(learner, stream)

    def _ckd(self, model: nn.Module, stream: TensorStream) -> Contender:
        plugin = SelfDistillation(self._objective())
        for test in stream.test:  # its samples are made at the first evaluation and kept; plain torch has them ready
            test.raw()
        steps = -(-len(stream.train[0]) // self.problem.batch_size)
        return self._avalanche(Naive, model, as_benchmark(stream), steps, AccuracyRecorder(), [plugin])

    def _stock(self, model: nn.Module) -> Contender:
        problem = self.problem
        assert problem.factory is not None
        benchmark = problem.factory(n_experiences=problem.rounds, dataset_root=self.data_root, seed=0)
        evaluator = EvaluationPlugin(accuracy_metrics(experience=True), loggers=[])
        common = (model, benchmark, problem.stock_steps, evaluator)
        stop = StopAfter(problem.stock_steps)
        if self.method == "der++":
            more = {"mem_size": MEMORY, "batch_size_mem": problem.batch_size, **self._weights}
            return self._avalanche(DER, *common, [stop], **more)
        replay = ReplayPlugin(MEMORY, batch_size_mem=problem.batch_size)
        own = {"naive": [], "er": [replay], "lwf": [LwFPlugin()]}[self.method]
        return self._avalanche(Naive, *common, [*own, stop])

    def _avalanche(
        self, kind: Any, model: nn.Module, benchmark: Any, steps: int, evaluator: Any, plugins: list[Any], **more: Any
    ) -> Contender:
        strategy = kind(
            model=model,
            optimizer=torch.optim.SGD(model.parameters(), lr=self._lr),
            criterion=nn.CrossEntropyLoss(),
            train_mb_size=self.problem.batch_size,
            eval_mb_size=self.problem.evaluation_batch,
            device=self.device,
            plugins=plugins,
            evaluator=evaluator,
            **more,
        )
        return Contender(
            lambda i: strategy.train(benchmark.train_stream[i]),
            lambda i: strategy.eval(benchmark.test_stream[i]),
            steps,
            self.device,
            strategy,
        )


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


def _samples(experience: TensorExperience) -> torch.Tensor:
    """Its raw samples (N, ...)."""
    return experience.raw() if experience.rows is None else experience.raw().index_select(0, experience.rows)
