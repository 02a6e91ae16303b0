"""Tether: what it is when parts are left out, and where its anchor lies."""

import pytest
import torch

from ckd import Objective, SelfDistillation, Snapshot, recipes
from ckd.anchors import Anchor, FisherSamples, Kronecker
from ckd.errors import ConfigError

DER = {"distill_weight": 0.0, "anchor_weight": 0.0, "decay": 0.0, "limit_factor": 0.0}  # what is left is der++
ANCHOR = {"logit_weight": 0.0, "rehearsal_weight": 0.0, "distill_weight": 0.0}


@pytest.fixture
def ends(blobs, benchmark_of, network, naive, train):
    """ends(objective, ...) -> the weights after a run with it; without it, after one of plain SGD."""

    def run(objective=None, batchnorm=False, experiences=3):
        plugins = [] if objective is None else [SelfDistillation(objective)]
        strategy = naive(network(batchnorm=batchnorm), plugins, epochs=2)
        return train(strategy, benchmark_of(blobs(n_experiences=experiences)))

    return run


@pytest.mark.parametrize("batchnorm", [False, True])
@pytest.mark.parametrize(
    "settings", [{"memory_size": 20}, {"memory_size": 7, "memory_batch_size": 5, "seed": 9}], ids=str
)
def test_without_the_old_self_it_is_der_plus_plus_bit_for_bit(settings, batchnorm, ends, same):
    tether = recipes.tether(logit_weight=0.3, rehearsal_weight=0.7, **DER, **settings)
    der = recipes.der_plus_plus(alpha=0.3, beta=0.7, **settings)
    assert tether.parts == {"memory": tether.memory}
    assert same(ends(tether, batchnorm), ends(der, batchnorm))


def test_without_any_weight_it_is_plain_sgd(ends, same):
    nothing = recipes.tether(**{**DER, **ANCHOR})
    assert same(ends(nothing, batchnorm=True), ends(batchnorm=True))


def test_an_average_that_only_predicts_leaves_the_student_as_it_is(ends, network, same):
    objective = recipes.tether(memory_size=20, **{**DER, "decay": 0.9})
    averaged = ends(objective)
    assert same(averaged, ends(recipes.tether(memory_size=20, **DER)))
    assert not torch.equal(objective.evaluation_model(network())[0].weight, averaged[0]["0.weight"])


def test_the_anchor_alone_is_an_anchor_at_a_snapshot(ends, same):
    snapshot = Snapshot()
    anchor = Anchor(snapshot, Kronecker(rank=3), weight=7.0, samples=30, seed=2)
    plain = Objective("x", teachers={"old": snapshot}, anchor=anchor)
    settings = {"anchor_weight": 7.0, "anchor_rank": 3, "anchor_samples": 30, "seed": 2}
    found = ends(recipes.tether(decay=0.0, **ANCHOR, **settings))
    assert same(found, ends(plain))
    assert not same(found, ends())


def test_in_the_first_experience_there_is_nothing_to_match_or_hold(ends, same):
    weights = {"logit_weight": 0.3, "rehearsal_weight": 0.7, "memory_size": 20}
    assert same(ends(recipes.tether(**weights), experiences=1), ends(recipes.tether(**DER, **weights), experiences=1))
    assert not same(ends(recipes.tether(**weights)), ends(recipes.tether(**DER, **weights)))


def test_without_memory_the_anchor_remains(ends, same):
    assert same(ends(recipes.tether(memory_size=0)), ends(recipes.tether(**ANCHOR)))


def test_the_old_self_is_the_average_and_the_anchor_lies_there(blobs, benchmark_of, network, naive, monkeypatch):
    measured, of = [], FisherSamples.of

    def noted(model, *arguments):
        measured.append(model)
        return of(model, *arguments)

    monkeypatch.setattr(FisherSamples, "of", noted)
    objective = recipes.tether(memory_size=20, decay=0.9)
    strategy, stream = naive(network(), [SelfDistillation(objective)]), benchmark_of(blobs()).train_stream
    for i in range(2):
        strategy.train(stream[i])
        (ema,) = objective.chain()
        average, snapshot = ema.model.module, objective.teachers["snapshot"].model.module
        assert measured[i] is snapshot
        assert all(torch.equal(v, average.state_dict()[n]) for n, v in snapshot.state_dict().items())
        assert not torch.equal(snapshot[0].weight, strategy.model[0].weight)
        assert objective.anchor.penalty(snapshot) == 0
        assert objective.anchor.penalty(strategy.model) > 0


def test_the_anchor_holds_the_predictions_among_the_classes_known(blobs, benchmark_of, network, naive):
    changes, x = [], blobs()[0][0]
    for weight in (0.0, 1e4):
        objective = recipes.tether(memory_size=0, anchor_weight=weight)
        strategy, benchmark = naive(network(), [SelfDistillation(objective)]), benchmark_of(blobs())
        torch.manual_seed(0)
        strategy.train(benchmark.train_stream[0])
        old = objective.teachers["snapshot"].model(x)[:, :2].softmax(1)
        strategy.train(benchmark.train_stream[1])
        changes.append((strategy.model(x)[:, :2].softmax(1) - old).abs().mean().item())
    assert changes[1] < 0.2 * changes[0]


def test_the_average_predicts_at_evaluation(blobs, benchmark_of, network, naive):
    predicted = []

    class Watch:
        def after_eval_forward(self, strategy, **kwargs):
            predicted.append(strategy.model)

    objective = recipes.tether(memory_size=20, decay=0.9)
    strategy, benchmark = naive(network(), [SelfDistillation(objective), Watch()]), benchmark_of(blobs())
    strategy.train(benchmark.train_stream[0])
    strategy.eval(benchmark.test_stream)
    assert len(predicted) > 0
    (ema,) = objective.chain()
    assert all(torch.equal(m[0].weight, ema.model.module[0].weight) for m in predicted)
    assert not torch.equal(predicted[0][0].weight, strategy.model[0].weight)


def test_its_state_is_counted(blobs, benchmark_of, network, naive):
    objective, model = recipes.tether(memory_size=20, anchor_rank=4), network()
    plugin = SelfDistillation(objective)
    naive(model, [plugin]).train(benchmark_of(blobs()).train_stream[:1])
    size = 4 * sum(p.numel() for p in model.parameters())
    vectors, values = 16 * 16 + 7 * 4 + 6 * 6 + 17 * 4, 16 + 4 + 6 + 4
    counted = {"inputs": 20 * 6 * 4, "labels": 20 * 3 * 8, "logits": 20 * 6 * 4, "teachers": 2 * size}
    assert plugin.engine.nbytes() == {**counted, "curvature": 2 * vectors + 4 * values, "norms": 4 * 101}


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0.0},
        {"anchor_weight": -1.0},
        {"anchor_rank": 0},
        {"anchor_samples": 0},
        {"decay": 1.0},
        {"memory_size": -1},
    ],
    ids=str,
)
def test_what_cannot_work_is_refused(wrong):
    with pytest.raises(ConfigError):
        recipes.tether(**wrong)
