"""Features of student and teacher, compared through a learned map."""

import copy

import pytest
import torch
from avalanche.models import MTSimpleMLP
from torch import nn

from ckd import Objective, SelfDistillation, Snapshot, recipes
from ckd.errors import ConfigError, ModelError
from ckd.objective import FeatureTerm, Projection, stream, teacher


def watched(network, naive, stream_of, joint, projection=True):
    """Two experiences with one feature term on the stream; what it was worth, and by hand from the hidden layer."""
    by_hand, mine = [], []
    learned = Projection(0.05, seed=3) if projection else None
    term = FeatureTerm("features", draw=stream, target=teacher("past"), projection=learned)
    objective = Objective("x", [term], teachers={"past": Snapshot()})

    class Watch:
        def before_backward(self, strategy, **kwargs):
            past = objective.teachers["past"]
            if past.ready:
                with torch.no_grad():
                    student, old = (
                        nn.Sequential(*list(m)[:-1])(strategy.mb_x) for m in (strategy.model, past.model.module)
                    )
                    mapped = student if learned is None else learned._map(student)
                    by_hand.append((mapped - old).square().sum(1).sqrt().mean().item())

    from ckd import AccuracyRecorder

    recorder = AccuracyRecorder()
    plugin = SelfDistillation(objective, joint=joint, log_every=1)
    strategy = naive(network(), [plugin, Watch()], evaluator=recorder)
    strategy.train(stream_of.train_stream[:2])
    mine = [value for _, value in recorder.losses["CKD_Loss/train_phase/train_stream/features"]]
    return strategy, mine, by_hand


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("projection", [True, False])
def test_the_term_is_the_mean_length_of_the_difference(joint, projection, blobs, benchmark_of, network, naive):
    _, mine, by_hand = watched(network, naive, benchmark_of(blobs()), joint, projection)
    assert len(mine) == 5
    assert mine[1:] == pytest.approx(by_hand[1:], rel=1e-5)
    assert max(mine[1:]) > 0


def test_no_hook_is_left_on_the_student_or_the_teacher(blobs, benchmark_of, network, naive):
    strategy, _, _ = watched(network, naive, benchmark_of(blobs()), True)
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in strategy.model.modules())


def test_no_hook_is_left_after_a_forward_pass_that_failed(blobs, benchmark_of, network, naive):
    strategy, _, _ = watched(network, naive, benchmark_of(blobs()), True)
    wrong = [(x[:, :4], y) for x, y in blobs()]
    with pytest.raises(RuntimeError):
        strategy.train(benchmark_of(wrong).train_stream[2])
    strategy.train(benchmark_of(blobs()).train_stream[2])
    assert not any(m._forward_pre_hooks for m in strategy.model.modules())


def test_the_map_learns_and_leaves_the_users_optimiser_and_generator_alone(
    blobs, benchmark_of, network, naive, train, same
):
    states = []

    class Watch:
        def after_update(self, strategy, **kwargs):
            projection = strategy.plugins[0].objective.terms[-1].projection
            if projection._map is not None:
                states.append(copy.deepcopy(projection._map.weight.detach()))

    strategy = naive(network(), [SelfDistillation(recipes.bfp(memory_size=20)), Watch()])
    one = train(strategy, benchmark_of(blobs()))
    assert not torch.equal(states[0], states[4])
    mine = {id(p) for p in strategy.model.parameters()}
    assert {id(p) for group in strategy.optimizer.param_groups for p in group["params"]} == mine
    idle = recipes.bfp(memory_size=20, feature_weight=0.0)
    plain = recipes.der_plus_plus(memory_size=20)
    runs = [train(naive(network(), [SelfDistillation(o)]), benchmark_of(blobs())) for o in (idle, plain)]
    assert same(*runs)
    assert one[1] == runs[0][1]


def test_joint_and_separate_forward_agree(blobs, benchmark_of, network, naive, train):
    states = [
        train(naive(network(), [SelfDistillation(recipes.bfp(memory_size=20), joint=joint)]), benchmark_of(blobs()))[0]
        for joint in (True, False)
    ]
    assert all(torch.allclose(states[0][name], states[1][name], atol=1e-5) for name in states[0])


def test_a_head_for_each_task_is_refused(blobs, benchmark_of, naive):
    strategy = naive(MTSimpleMLP(input_size=6, hidden_size=8), [SelfDistillation(recipes.bfp())])
    with pytest.raises(ModelError, match="feature distillation"):
        strategy.train(benchmark_of(blobs(), "index").train_stream)


def test_a_learning_rate_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="learning rate of the projection"):
        Projection(0.0)
