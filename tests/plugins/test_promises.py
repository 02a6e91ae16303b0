"""The promises of the design, kept in real Avalanche loops."""

import copy
import gc
import io
import pickle
import weakref
from contextlib import nullcontext

import pytest
import torch
from avalanche.benchmarks.scenarios.online import split_online_stream
from avalanche.evaluation.metrics import loss_metrics
from avalanche.logging import TextLogger
from avalanche.models import IncrementalClassifier, MultiHeadClassifier, MultiTaskModule
from avalanche.training.plugins import EvaluationPlugin
from torch import nn

from ckd import AccuracyRecorder, Engine, Memory, Objective, SelfDistillation, Snapshot, Term, recipes
from ckd.data import arrays, as_benchmark, split
from ckd.errors import ConfigError, DataError, ModelError, NonFiniteLossError
from ckd.losses import cross_entropy, kd
from ckd.objective import old_heads, replay, teacher
from ckd.plugins import BoundaryWarning


class Growing(nn.Module):
    """A head that grows with the classes; inactive units give -1000."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(6, 16), nn.ReLU())
        self.classifier = IncrementalClassifier(16, 2)

    def forward(self, x):
        return self.classifier(self.features(x))


class MultiHead(MultiTaskModule):
    """A head for each task."""

    def __init__(self, masking=True):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(6, 16), nn.ReLU())
        self.classifier = MultiHeadClassifier(16, 2, masking=masking)

    def forward(self, x, task_labels):
        return self.classifier(self.features(x), task_labels)


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Spy:
    """Looks at a plugin's teacher, modes and losses at every iteration."""

    def __init__(self, plugin):
        self.plugin, self.teacher, self.modes, self.losses = plugin, [], set(), []

    def after_training_iteration(self, strategy, **kwargs):
        self.modes.add(all(m.training for m in strategy.model.modules()))
        self.losses.append(strategy.loss.item())
        snapshot = self.plugin.objective.teachers.get("snapshot")
        if snapshot is not None and snapshot.ready:
            strategy.model.train()
            snapshot.model.train()
            snapshot.model.module[0].train()  # what careless code does
            self.teacher.append(state(snapshot.model))


def test_a_teacher_never_changes_within_an_experience_and_the_student_stays_in_train_mode(
    blobs, benchmark_of, network, naive
):
    plugin = SelfDistillation(memory_size=20)
    spy = Spy(plugin)
    strategy = naive(network(batchnorm=True), [plugin, spy])
    experiences = list(benchmark_of(blobs()).train_stream)
    strategy.train(experiences[0])
    trained = state(plugin.engine.evaluation_model(strategy.model, "average"))  # of which the snapshot is one
    strategy.train(experiences[1])
    assert len(spy.teacher) == 5
    assert all(equal(seen, {f"module.{k}": v for k, v in trained.items()}) for seen in spy.teacher)
    assert not equal(trained, state(strategy.model))
    assert spy.modes == {True}
    assert not any(p.requires_grad for p in plugin.objective.teachers["snapshot"].model.parameters())


def test_the_teacher_is_not_on_the_model_nor_in_its_optimiser(blobs, benchmark_of, network, naive):
    plugin = SelfDistillation(memory_size=20)
    strategy = naive(network(), [plugin])
    strategy.train(benchmark_of(blobs()).train_stream)
    mine = {id(p) for p in strategy.model.parameters()}
    assert {id(p) for group in strategy.optimizer.param_groups for p in group["params"]} == mine
    assert not mine & {id(p) for p in plugin.objective.teachers["snapshot"].model.parameters()}


@pytest.mark.parametrize("recipe", ["lwf", "er", "er-ace", "der", "der++", "self-distillation"])
@pytest.mark.parametrize("evaluate", [False, True])
def test_the_minus_thousand_of_a_growing_masked_head_is_in_no_loss(recipe, evaluate, blobs, benchmark_of, naive, train):
    plugin = SelfDistillation(recipes.get(recipe).build())
    spy = Spy(plugin)
    strategy = naive(Growing(), [plugin])
    strategy.plugins.insert(1, spy)
    spy.plugin = SelfDistillation(recipes.naive())  # only the losses are of interest here
    train(strategy, benchmark_of(blobs()), evaluate=evaluate)
    assert len(spy.losses) == 15
    assert max(spy.losses) < 100


def test_stored_logits_of_a_growing_head_are_nan_where_a_unit_was_inactive(blobs, benchmark_of, naive, train):
    objective = recipes.der(memory_size=60)
    train(naive(Growing(), [SelfDistillation(objective)]), benchmark_of(blobs()), evaluate=True)
    rows = objective.memory.rows
    active = ~rows.logits.isnan()
    for experience in range(3):
        of_it = active[rows.experiences == experience]
        assert len(of_it)
        assert torch.equal(of_it, (torch.arange(6) < 2 * experience + 2).expand_as(of_it))
    assert rows.logits[active].abs().max() < 100


def test_a_head_that_grew_in_evaluation_is_compared_on_old_classes_only(blobs, benchmark_of, naive):
    plugin = SelfDistillation(recipes.lwf())
    strategy = naive(Growing(), [plugin])
    stream = benchmark_of(blobs())
    strategy.train(stream.train_stream[0])
    strategy.eval(stream.test_stream)  # the head is now 6 wide, the teacher 2
    assert strategy.model.classifier.classifier.out_features == 6
    snapshot = plugin.objective.teachers["snapshot"]
    assert snapshot.model.module.classifier.classifier.out_features == 2
    assert snapshot.classes.indices == [0, 1]
    strategy.train(stream.train_stream[1])
    assert snapshot.classes.indices == [0, 1, 2, 3]
    assert all(p.isfinite().all() for p in strategy.model.parameters())


def test_one_old_class_is_not_worth_zero(blobs, benchmark_of, network, naive):
    recorder = AccuracyRecorder()
    strategy = naive(network(), [SelfDistillation(recipes.lwf())], evaluator=recorder)
    strategy.train(benchmark_of(blobs(per_experience=1)).train_stream[:2])
    (_, distillation), *_ = recorder.losses["CKD_Loss/train_phase/train_stream/distillation"]
    assert distillation > 1e-4


def test_of_a_teacher_that_is_wider_than_the_classes_it_was_taught_only_these_are_matched():
    student, model, x = torch.zeros(4, 6, requires_grad=True), nn.Linear(3, 6), torch.randn(4, 3)
    term = Term("kd", draw=old_heads, target=teacher("t"), loss=kd)
    engine = Engine(Objective("x", [term], teachers={"t": Snapshot()}))
    engine.begin([0, 1])
    engine.loss(model, x, torch.tensor([0, 1, 0, 1]))
    engine.end()
    engine.begin([2, 3])
    engine.step(model, x, torch.tensor([2, 3, 2, 3]))
    engine.receive(student)
    _, value = engine.values(torch.zeros(()))["kd"]
    value.backward()
    assert (student.grad[:, :2] != 0).all()
    assert (student.grad[:, 2:] == 0).all()


@pytest.mark.parametrize("masking", [True, False])
@pytest.mark.parametrize("recipe", ["lwf", "er", "er-ace", "der", "der++", "self-distillation"])
def test_multi_head_models(recipe, masking, blobs, benchmark_of, naive, train):
    plugin = SelfDistillation(recipes.get(recipe).build())
    strategy = naive(MultiHead(masking), [plugin])
    losses = Spy(SelfDistillation(recipes.naive()))
    strategy.plugins.insert(1, losses)
    train(strategy, benchmark_of(blobs(), "index"))
    assert max(losses.losses) < 100
    if plugin.objective.teachers:
        taught = plugin.objective.teachers["snapshot"].classes
        assert taught.by_task == {0: {0, 1}, 1: {2, 3}, 2: {4, 5}}


def test_lwf_on_a_multi_head_model_distils_every_old_head(blobs, benchmark_of, naive, network):
    """Against a loop over the old heads (Li & Hoiem 2016, eq. 3)."""
    torch.manual_seed(0)
    plugin = SelfDistillation(recipes.lwf())
    strategy = naive(MultiHead(masking=False), [plugin])
    stream = benchmark_of(blobs(), "index").train_stream
    strategy.train(stream[:2])
    old = copy.deepcopy(strategy.model).eval()
    seen = []

    class Compare:
        def before_forward(self, strategy, **kwargs):
            self.x = strategy.mb_x[: len(strategy.mb_y)].clone()

        def after_forward(self, strategy, **kwargs):
            x = strategy.mb_x
            wanted = 0
            for task, classes in ((0, [0, 1]), (1, [2, 3])):
                z, q = (m(x, torch.full((len(x),), task))[:, classes] / 2 for m in (strategy.model, old))
                p = q.softmax(1)
                wanted += 4 * (p * (p.log() - z.log_softmax(1))).sum(1).mean()
            seen.append(wanted.item())

    recorder = AccuracyRecorder()
    strategy.evaluator = recorder
    plugin.log_every = 1
    strategy.plugins.insert(1, Compare())
    strategy.train(stream[2])
    got = [value for _, value in recorder.losses["CKD_Loss/train_phase/train_stream/distillation"]]
    assert got == pytest.approx(seen, rel=1e-3, abs=1e-6)
    assert max(got) > 0


@pytest.mark.parametrize("known", [True, False])
def test_online_streams_are_snapshot_at_task_boundaries_only(known, blobs, benchmark_of, network, naive):
    taken = []

    class Counting(Snapshot):
        def end(self, ending):
            taken.append(ending.classes.seen.indices)
            super().end(ending)

    objective = Objective(
        "online",
        [Term("kd", draw=replay("a"), target=teacher("past"), loss=kd)],
        memory=Memory(20),
        teachers={"past": Counting()},
    )
    stream = split_online_stream(benchmark_of(blobs()).train_stream, experience_size=8, access_task_boundaries=known)
    plugin = SelfDistillation(objective)
    with nullcontext() if known else pytest.warns(BoundaryWarning, match="never come into play: Counting"):
        naive(network(), [plugin]).train(stream)
    assert taken == ([[0, 1], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5]] if known else [])
    assert len(objective.memory) == 20
    assert plugin.engine.moment.classes.seen.indices == [0, 1, 2, 3, 4, 5]


def test_named_losses_reach_avalanches_loggers(blobs, benchmark_of, network, naive):
    written = io.StringIO()
    evaluator = EvaluationPlugin(loss_metrics(epoch=True), loggers=[TextLogger(written)], collect_all=True)
    strategy = naive(network(), [SelfDistillation(memory_size=20)], evaluator=evaluator)
    strategy.train(benchmark_of(blobs(same_classes=True)).train_stream)
    for name in ("criterion", "collages"):
        assert f"CKD_Loss/train_phase/train_stream/{name}" in evaluator.get_all_metrics()
        assert name in written.getvalue()


def mnist_like(n=400, n_classes=6):
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (n, 28, 28), dtype=torch.uint8, generator=g)
    y = torch.arange(n) % n_classes
    return arrays(x, y, x[:50], y[:50])


def big_mlp():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 6)
    )


def test_the_memory_is_small_and_so_is_the_pickled_plugin(naive):
    objective = recipes.self_distillation(memory_size=200)
    plugin = SelfDistillation(objective)
    naive(big_mlp(), [plugin], batch=32).train(as_benchmark(split(mnist_like(), 3)).train_stream)
    assert objective.memory.rows.raw.dtype == torch.uint8
    size = plugin.engine.nbytes()
    assert size["inputs"] == 200 * 784
    assert size["heads"] < 100_000  # a mean for each class, and one covariance of 100 features
    assert sum(size.values()) - size["teachers"] - size["heads"] < 200_000
    assert size["teachers"] == 2 * sum(p.numel() for p in big_mlp().parameters()) * 4  # the average and its snapshot
    assert len(pickle.dumps(plugin)) < 2_000_000


def test_old_experiences_can_be_freed(naive):
    torch.manual_seed(0)
    plugin = SelfDistillation(memory_size=20)
    strategy = naive(big_mlp(), [plugin], batch=32)
    stream = as_benchmark(split(mnist_like(), 3))
    pixels = weakref.ref(stream.tensors.train[0].base)
    strategy.train(stream.train_stream)
    del stream
    gc.collect()
    assert len(plugin.objective.memory) == 20
    assert pixels() is None


def test_a_model_that_returns_a_tuple_is_refused(blobs, benchmark_of, naive):
    class Tuple(nn.Linear):
        def forward(self, x):
            return super().forward(x), x

    with pytest.raises(ModelError, match=r"expected one tensor of logits.*received <class 'tuple'>"):
        naive(Tuple(6, 6), [SelfDistillation()]).train(benchmark_of(blobs()).train_stream)


def test_labels_beyond_the_head_are_refused_before_the_criterion_fails(blobs, benchmark_of, network, naive):
    with pytest.raises(DataError, match=r"expected class indices from 0 to 3.*received a label 5"):
        naive(network(width=4), [SelfDistillation()]).train(benchmark_of(blobs()).train_stream)


def test_negative_labels_are_refused(blobs, benchmark_of, network, naive):
    experiences = [(x, y - 1) for x, y in blobs()]
    with pytest.raises(DataError, match="a label -1"):
        naive(network(), [SelfDistillation()]).train(benchmark_of(experiences).train_stream)


def test_a_nan_names_its_term_and_its_step_and_the_model_is_untouched(blobs, benchmark_of, network, naive):
    calls = []

    def breaks(student, target, /, *, classes=None):
        calls.append(1)
        return cross_entropy(student, target) * (float("nan") if len(calls) == 4 else 1.0)

    objective = Objective("breaks", [Term("fragile", draw=replay("a"), loss=breaks)], memory=Memory(20))
    strategy = naive(network(), [SelfDistillation(objective)])
    with pytest.raises(NonFiniteLossError, match="loss 'fragile' at iteration 4"):  # 0 had no memory yet
        strategy.train(benchmark_of(blobs()).train_stream)
    assert all(p.isfinite().all() for p in strategy.model.parameters())


def test_a_strategy_with_a_loss_of_its_own_keeps_it_or_is_refused(blobs, benchmark_of, network, naive):
    from avalanche.training import Naive

    class Own(Naive):
        def criterion(self):
            return torch.nn.functional.cross_entropy(self.mb_output, self.mb_y)

    naive(network(), [SelfDistillation(recipes.der())], strategy=Own).train(benchmark_of(blobs()).train_stream)
    strategy = naive(network(), [SelfDistillation(recipes.er())], strategy=Own)
    with pytest.raises(ConfigError, match="calls its criterion"):
        strategy.train(benchmark_of(blobs()).train_stream)
    assert isinstance(strategy._criterion, nn.CrossEntropyLoss)


def test_an_objective_and_a_memory_size_are_one_too_many():
    with pytest.raises(ConfigError, match="both"):
        SelfDistillation(recipes.er(), memory_size=3)


def test_experiences_with_other_transforms_are_refused(naive, benchmark_of):
    x, y = torch.randint(0, 256, (40, 6), dtype=torch.uint8), torch.arange(40) % 4
    one = as_benchmark(split(arrays(x, y, x, y), 2)).train_stream[0]
    from dataclasses import replace

    from ckd.data.preparation import Preparation, Scale

    stream = replace(split(arrays(x, y, x, y), 2), prepare_train=Preparation((Scale(2.0),)))
    other = as_benchmark(stream).train_stream[1]
    strategy = naive(nn.Linear(6, 6), [SelfDistillation(memory_size=5)])
    strategy.train(one)
    with pytest.raises(DataError, match="same transforms"):
        strategy.train(other)


@pytest.mark.parametrize("model", [Growing, MultiHead])
def test_the_average_evaluates_and_the_student_goes_on(model, blobs, benchmark_of, naive, train):
    evaluated = []

    class Watch:
        def after_eval_forward(self, strategy, **kwargs):
            evaluated.append(strategy.model)

    objective = recipes.mean_er(decay=0.9, rate=1.0)
    strategy = naive(model(), [SelfDistillation(objective), Watch()])
    student = strategy.model
    stream = benchmark_of(blobs(), "index")
    train(strategy, stream, evaluate=True)
    assert strategy.model is student
    assert all(found is not student for found in evaluated)
    x, tasks = blobs()[0][0], torch.zeros(40, dtype=torch.long)
    average = objective.teachers["ema"].model.module
    last = evaluated[-1]
    assert torch.equal(*(m(x) if model is Growing else m(x, tasks) for m in (average, last)))


def test_evaluating_with_the_average_does_not_touch_the_student(blobs, benchmark_of, network, naive):
    strategy = naive(network(batchnorm=True), [SelfDistillation(recipes.mean_er(decay=0.9))])
    stream = benchmark_of(blobs())
    strategy.train(stream.train_stream[0])
    before = state(strategy.model)
    strategy.eval(stream.test_stream)
    assert equal(before, state(strategy.model))


def test_weights_that_depend_on_old_classes_are_warned_of_without_boundaries(blobs, benchmark_of, network, naive):
    strategy = naive(network(), [SelfDistillation(recipes.lode(memory_size=10))])
    stream = split_online_stream(benchmark_of(blobs()).train_stream, experience_size=10, access_task_boundaries=False)
    with pytest.warns(BoundaryWarning, match="old classes"):
        strategy.train(next(iter(stream)))


def test_units_that_a_masked_head_leaves_inactive_are_not_stored_at_the_end_either(blobs, benchmark_of, naive, train):
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), IncrementalClassifier(8, 2, masking=True))
    plugin = SelfDistillation(recipes.fdr(memory_size=20))
    train(naive(model, [plugin]), benchmark_of(blobs()[::-1][:1]))  # classes 4 and 5 come first
    stored = plugin.objective.memory.rows.logits
    assert stored[:, :4].isnan().all()
    assert stored[:, 4:].isfinite().all()


def test_an_experience_without_a_mini_batch_is_part_of_the_next(blobs, benchmark_of, network, naive):
    experiences = blobs()
    experiences[1] = tuple(column[:3] for column in experiences[1])
    plugin = SelfDistillation(recipes.self_distillation(memory_size=20))
    strategy, seen = naive(network(), [plugin]), []
    for experience in benchmark_of(experiences).train_stream:
        strategy.train(experience, drop_last=True)
        seen.append((plugin.engine.moment.experience, plugin.objective.teachers["snapshot"].classes.indices))
    skipped = experiences[1][1].unique().tolist()
    assert seen == [(1, [0, 1]), (1, [0, 1]), (2, [0, 1, *skipped, 4, 5])]
