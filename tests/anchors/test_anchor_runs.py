"""Anchors in Avalanche loops: when they are measured, when they pull, and that idle ones leave no trace."""

import copy
import pickle

import pytest
import torch
from avalanche.training import Naive
from torch import nn

from ckd import AccuracyRecorder, Engine, Objective, SelfDistillation
from ckd.anchors import Anchor, Diagonal, FisherSamples, Kronecker
from ckd.plugins import BoundaryWarning
from ckd.teachers import Ema, Snapshot

BOTH = pytest.mark.parametrize("curvature", [Diagonal, Kronecker])


def anchored(curvature, teacher=None, **settings):
    teacher = teacher or Snapshot()
    return Objective("anchored", teachers={"old": teacher}, anchor=Anchor(teacher, curvature, **settings))


class Watch:
    """The student's weights and the teacher's after every iteration, and before the pull."""

    def __init__(self, plugin):
        self.plugin, self.seen = plugin, []

    def after_training_iteration(self, strategy, **kwargs):
        teacher = self.plugin.objective.teachers["old"]
        self.seen.append((weights(strategy.model), weights(teacher.model.module) if teacher.ready else None))


class BeforePull:
    """Notes the student's weights as the optimiser leaves them."""

    def __init__(self):
        self.seen = []

    def after_update(self, strategy, **kwargs):
        self.seen.append(weights(strategy.model))


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_it_measures_its_teacher_on_each_experience_as_it_ends(isotropic, blobs, benchmark_of, network, naive):
    experiences, ends = blobs(), []
    plugin = SelfDistillation(anchored(isotropic, Ema(0.9), decay=0.3, samples=25))
    strategy = naive(network(), [plugin])
    for experience in benchmark_of(experiences).train_stream:
        strategy.train(experience)
        ends.append(weights(plugin.objective.teachers["old"].model.module))
    assert [decay for _, decay in isotropic.measured] == [0.3] * 3
    for i, (samples, _) in enumerate(isotropic.measured):
        assert equal(weights(samples.model), ends[i])
        assert not equal(weights(samples.model), weights(strategy.model))
        assert len(samples) == 25
        rows = {tuple(row) for row in experiences[i][0].tolist()}
        assert {tuple(row) for row in samples.inputs.tolist()} <= rows
        assert set(samples.labels.tolist()) <= set(range(2 * i + 2))
        assert samples.classes is None if i == 2 else samples.classes.tolist() == [c < 2 * i + 2 for c in range(6)]
    assert plugin.engine.nbytes()["curvature"] == 17


def test_each_update_is_followed_by_one_pull_at_its_learning_rate(isotropic, blobs, benchmark_of, network):
    """The largest of the optimiser's groups, also while a scheduler lowers it."""
    model = network()
    plugin, before = SelfDistillation(anchored(isotropic, weight=4.0)), BeforePull()
    watch = Watch(plugin)
    groups = [{"params": model[2].parameters(), "lr": 0.2}, {"params": model[0].parameters(), "lr": 1e-5}]
    optimiser = torch.optim.SGD(groups)

    class Lower:
        def after_training_iteration(self, strategy, **kwargs):
            optimiser.param_groups[0]["lr"] *= 0.5

    strategy = Naive(
        model=model,
        optimizer=optimiser,
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=8,
        plugins=[before, plugin, watch, Lower()],
        evaluator=AccuracyRecorder(),
    )
    strategy.train(benchmark_of(blobs()).train_stream[:2])
    assert isotropic.strengths == pytest.approx([4 * 0.2 * 0.5**i for i in range(5, 10)])
    for i, (student, home) in enumerate(watch.seen):
        if i < 5:
            assert equal(student, before.seen[i])
            continue
        s = 4 * 0.2 * 0.5**i
        for name, theta in before.seen[i].items():
            assert torch.allclose(student[name], home[name] + (theta - home[name]) / (1 + s), atol=1e-6)


def test_an_average_follows_the_student_as_it_is_after_the_pull(isotropic, blobs, benchmark_of, network, naive):
    """Without memory of its past, Ema(0) is the student: the one that was pulled."""
    follower, snapshot = Ema(0.0), Snapshot()
    objective = Objective(
        "both", teachers={"average": follower, "old": snapshot}, anchor=Anchor(snapshot, isotropic, weight=3.0)
    )
    plugin, before = SelfDistillation(objective), BeforePull()
    strategy = naive(network(), [before, plugin])
    strategy.train(benchmark_of(blobs()).train_stream[:2])
    assert equal(weights(follower.model.module), weights(strategy.model))
    assert not equal(weights(strategy.model), before.seen[-1])


def test_in_the_first_experience_it_does_nothing_and_later_it_does(blobs, benchmark_of, network, naive, train, same):
    def run(n, *plugins):
        return train(naive(network(), plugins), benchmark_of(blobs(n_experiences=n)))

    for curvature in (Diagonal, Kronecker):
        assert same(run(1), run(1, SelfDistillation(anchored(curvature()))))
        assert not same(run(2), run(2, SelfDistillation(anchored(curvature()))))


@BOTH
def test_of_weight_zero_it_costs_nothing(curvature, blobs, benchmark_of, network, naive, train, same, monkeypatch):
    def never(*arguments, **keywords):
        raise AssertionError("nothing is to be measured or pulled")

    for name in ("add", "correction"):
        monkeypatch.setattr(curvature, name, never)
    monkeypatch.setattr(FisherSamples, "of", never)
    plugin = SelfDistillation(anchored(curvature(), weight=0.0))
    idle = train(naive(network(batchnorm=True), [plugin]), benchmark_of(blobs()))
    assert same(idle, train(naive(network(batchnorm=True)), benchmark_of(blobs())))
    assert plugin.engine.nbytes()["curvature"] == 0


@BOTH
@pytest.mark.parametrize("batchnorm", [False, True])
def test_measuring_leaves_the_run_as_it_was(curvature, batchnorm, blobs, benchmark_of, network, naive, train, same):
    """A pull too weak for float32 to notice: everything else about the anchor is without effect."""
    plugin = SelfDistillation(anchored(curvature(), weight=1e-30))
    weak = train(naive(network(batchnorm=batchnorm), [plugin]), benchmark_of(blobs()))
    assert same(weak, train(naive(network(batchnorm=batchnorm)), benchmark_of(blobs())))
    assert plugin.engine.nbytes()["curvature"] > 0


@BOTH
@pytest.mark.parametrize("batchnorm", [False, True])
def test_pickled_between_experiences_it_goes_on_bit_for_bit(curvature, batchnorm, blobs, benchmark_of, network, naive):
    experiences, ends = list(benchmark_of(blobs()).train_stream), []
    for interrupted in (False, True):
        plugin = SelfDistillation(anchored(curvature(), weight=5.0, decay=0.5, samples=30))
        strategy = naive(network(batchnorm=batchnorm), [plugin])
        for i, experience in enumerate(experiences):
            torch.manual_seed(i)
            strategy.train(experience)
            if interrupted and i < 2:
                plugin, model = pickle.loads(pickle.dumps((plugin, strategy.model)))
                assert plugin.objective.anchor.teacher is plugin.objective.teachers["old"]
                strategy = naive(model, [plugin])
        ends.append((weights(strategy.model), plugin.objective.anchor.penalty(network(seed=3, batchnorm=batchnorm))))
    assert equal(ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1] > 0


@pytest.mark.parametrize("batchnorm", [False, True])
def test_a_trained_plugin_can_be_copied(batchnorm, blobs, benchmark_of, network, naive):
    plugin = SelfDistillation(anchored(Kronecker()))
    naive(network(batchnorm=batchnorm), [plugin]).train(benchmark_of(blobs()).train_stream[:1])
    assert copy.deepcopy(plugin.objective.anchor).curvature.nbytes() == plugin.engine.nbytes()["curvature"]


def test_the_same_seed_is_the_same_run_and_another_is_not(blobs, benchmark_of, network, naive, train, same):
    def run(seed):
        objective = anchored(Diagonal(), weight=20.0, samples=20, seed=seed)
        return train(naive(network(), [SelfDistillation(objective)]), benchmark_of(blobs()))

    assert same(run(1), run(1))
    assert not same(run(1), run(2))


def test_without_boundaries_it_is_said_to_wait(blobs, benchmark_of, network, naive):
    from avalanche.benchmarks.scenarios.online import split_online_stream

    stream = split_online_stream(benchmark_of(blobs()).train_stream, experience_size=10, access_task_boundaries=False)
    with pytest.warns(BoundaryWarning, match="Anchor"):
        naive(network(), [SelfDistillation(anchored(Diagonal()))]).train(next(iter(stream)))


class NoRate(torch.optim.Optimizer):
    """Half a step of its own choice."""

    def __init__(self, parameters):
        super().__init__(parameters, {})

    @torch.no_grad()
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            p -= 0.05 * p.grad


def test_an_optimiser_without_a_learning_rate_still_works(blobs, benchmark_of, network):
    model = network()
    strategy = Naive(
        model=model,
        optimizer=NoRate(model.parameters()),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=8,
        plugins=[SelfDistillation(memory_size=20)],
        evaluator=AccuracyRecorder(),
    )
    strategy.train(benchmark_of(blobs()).train_stream)


@pytest.mark.parametrize("saved", [False, True])
def test_while_classes_stay_it_lets_go_of_new_ones_and_holds_again(saved):
    """What is kept after each of five experiences, and whether the fourth trains as without an anchor."""

    def engine_of(weight):
        snapshot = Snapshot()
        anchor = Anchor(snapshot, Diagonal(), weight=weight, while_classes_stay=True)
        return Engine(Objective("anchored", teachers={"old": snapshot}, anchor=anchor))

    held, ends = [], []
    for weight in (50.0, 0.0):
        torch.manual_seed(0)
        model, engine = nn.Linear(3, 6), engine_of(weight)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        for number, classes in enumerate([(0, 1), (0, 1), (2, 3), (2, 3), (0, 3)]):
            x, y = torch.randn(40, 3), torch.tensor(classes).repeat(20)
            if weight == 50.0 and number == 2:
                before = [p.detach().clone() for p in model.parameters()]  # both go on from here
            if weight == 0.0 and number == 2:
                with torch.no_grad():
                    for p, value in zip(model.parameters(), before, strict=True):
                        p.copy_(value)
            engine.begin(classes)
            for _ in range(3):
                optimiser.zero_grad()
                engine.loss(model, x, y).backward()
                optimiser.step()
                engine.after_update(optimiser)
                if saved and number == 2:
                    state, engine = engine.state_dict(), engine_of(weight)
                    engine.load_state_dict(state, model)
            engine.end((x, y))
            if weight:
                held.append(engine.nbytes()["curvature"])
            if number in (2, 3):
                ends.append([p.detach().clone() for p in model.parameters()])
    size = 4 * (6 * 3 + 6)
    assert held == [size, size, 0, size, size]  # F is measured on (2, 3) when they come a second time
    (new, again), (free_new, free_again) = ends[:2], ends[2:]
    assert all(map(torch.equal, new, free_new))
    assert all(map(torch.equal, again, free_again))
