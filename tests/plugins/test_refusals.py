"""What a user gets wrong, refused with the likely fix."""

import pytest
import torch
from avalanche.benchmarks.scenarios.online import split_online_stream
from torch import nn
from torch.nn import functional as F

from ckd import AccuracyRecorder, Memory, Objective, SelfDistillation, Snapshot, Term, recipes
from ckd.errors import ConfigError, DataError
from ckd.losses import kd
from ckd.objective import replay, stream, teacher


def test_a_loss_that_is_already_a_mean_is_refused(blobs, benchmark_of, network, naive):
    def mean(student, target, /, *, classes=None):
        return F.cross_entropy(student, target)

    plugin = SelfDistillation(Objective("x", [Term("a", draw=replay("a"), loss=mean)], memory=Memory(5)))
    with pytest.raises(ConfigError, match=r"loss of term 'a': expected one value for each sample, \(5,\)"):
        naive(network(), [plugin]).train(benchmark_of(blobs()).train_stream)


def test_a_plugin_or_objective_that_was_trained_is_not_taken_for_another_run(blobs, benchmark_of, network, naive):
    experiences = benchmark_of(blobs()).train_stream
    plugin = SelfDistillation(recipes.er())
    strategy = naive(network(), [plugin])
    strategy.train(experiences[0])
    strategy.train(experiences[1])  # the same student goes on
    with pytest.raises(ConfigError, match="Build a new one for each run"):
        naive(network(), [plugin]).train(experiences)
    with pytest.raises(ConfigError, match="Build a new one for each run"):
        SelfDistillation(plugin.objective)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SelfDistillation(200), "memory_size=200"),
        (lambda: SelfDistillation("der++"), r"recipes.get\('der\+\+'\).build\(memory_size=200\)"),
        (lambda: SelfDistillation(recipes.er), r"Call it: SelfDistillation\(er\(\.\.\.\)\)"),
        (lambda: SelfDistillation([]), "an Objective"),
        (lambda: SelfDistillation(log_every=0), "log_every"),
        (lambda: SelfDistillation(log_every=2.5), "log_every"),
        (lambda: SelfDistillation(memory_size="100"), "memory size"),
        (lambda: SelfDistillation(memory_size=10.5), "memory size"),
        (lambda: SelfDistillation(memory_size=True), "memory size"),
        (lambda: Memory(10, policy="reservoir"), "policy"),
        (lambda: Objective("x", teachers={"p": nn.Linear(3, 3)}), "Teacher"),
        (lambda: Term("x", draw=replay), "draw of term 'x'"),
        (lambda: Term("x", draw="memory"), "draw of term 'x'"),
        (lambda: Term("x", draw=stream, target="labels"), "target of term 'x'"),
        (lambda: Term("x", draw=stream, weight="1"), "weight of term 'x'"),
    ],
)
def test_the_wrong_kind_of_argument_is_refused_at_construction(make, said):
    with pytest.raises(ConfigError, match=said):
        make()


def test_past_only_leaves_out_what_is_of_the_experience_that_runs(blobs, benchmark_of, network, naive):
    seen, wanted = [], []

    def look(student, target, /, *, classes=None):
        seen.append(None if classes is None else classes.any(1))
        return student.sum(1) * 0

    class Watch:
        def before_backward(self, strategy, **kwargs):
            step = plugin._step
            if step.plan.terms:
                wanted.append(step.batch(replay("a")).experiences < plugin.engine.moment.experience)

    term = Term("kd", draw=replay("a"), target=teacher("past", past_only=True), loss=look)
    plugin = SelfDistillation(Objective("x", [term], memory=Memory(30), teachers={"past": Snapshot()}))
    strategy = naive(network(), [plugin, Watch()])
    strategy.train(benchmark_of(blobs(same_classes=True)).train_stream)
    assert any((~past).any() for past in wanted)
    assert all(torch.equal(got, past) for got, past in zip(seen, wanted, strict=True))
    none = torch.zeros(1, 2, dtype=torch.bool)
    assert kd(torch.ones(1, 2), torch.zeros(1, 2), classes=none).tolist() == [0]


def test_rows_of_an_online_stream_are_those_of_its_tasks(blobs, benchmark_of, network, naive):
    recorder, benchmark = AccuracyRecorder(), benchmark_of(blobs())
    strategy = naive(network(), evaluator=recorder)
    online = split_online_stream(benchmark.train_stream, experience_size=8, access_task_boundaries=True)
    for i, experience in enumerate(online):
        strategy.train(experience)
        if i % 2 == 0:
            strategy.eval(benchmark.test_stream)
    assert recorder.matrix().values.shape == (3, 3)


def test_a_matrix_before_any_evaluation_says_so():
    with pytest.raises(DataError, match="an evaluation on the test stream"):
        AccuracyRecorder().matrix()
