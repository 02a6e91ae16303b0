"""Tiny real runs on the embedded digits."""

import functools
import itertools
import math
import pickle
import random

import numpy as np
import pytest
import torch
from torch import nn

from ckd.bench import plan, run
from ckd.bench.teachers import network_for
from ckd.data import tensor_stream
from ckd.errors import ConfigError
from ckd.networks import NETWORKS, network
from ckd.plugins import Compiled, SelfDistillation

N_EXPERIENCES, MEMORY, BATCH, SAMPLES = 2, 20, 16, 32
PARAMETERS = 65 * 100 + 101 * 100 + 101 * 10
"""Of the mlp on 8 x 8 images with 10 classes."""


def fresh(recipe, benchmark="split-digits", seed=0, **given):
    small = {"n_experiences": N_EXPERIENCES, "memory_size": MEMORY, "epochs": 1, "batch_size": BATCH}
    return run(plan(benchmark, recipe, seed=seed, **{**small, "samples_per_class": SAMPLES, **given}))


tiny = functools.cache(fresh)
"""The same, run once for all tests."""

STEPS = 10
"""Of an experience: 5 classes of 32 samples, 16 in a mini-batch."""

LONGER = {"n_experiences": 5, "epochs": 3, "memory_size": 100, "samples_per_class": None}
"""So long that methods differ."""


@pytest.mark.parametrize(
    ("benchmark", "recipe"),
    [
        ("split-digits", "naive"),
        ("split-digits", "er"),
        ("permuted-digits", "der++"),
        ("split-digits", "lwf"),
        ("permuted-digits", "joint"),
    ],
)
def test_the_same_run_twice_finds_the_same(benchmark, recipe):
    first, again = tiny(recipe, benchmark), fresh(recipe, benchmark)
    assert np.array_equal(first.matrix.values, again.matrix.values)
    assert np.array_equal(first.matrix.initial, again.matrix.initial)
    assert first.losses == again.losses


@pytest.mark.parametrize("benchmark", ["split-digits", "permuted-digits"])
def test_another_seed_finds_something_else(benchmark):
    first, other = tiny("er", benchmark), tiny("er", benchmark, seed=1)
    assert not np.array_equal(first.matrix.values, other.matrix.values)
    assert not np.array_equal(first.matrix.initial, other.matrix.initial)


@pytest.mark.parametrize("state", [0, 1])
def test_the_global_generators_neither_matter_nor_change(state):
    def now():
        return pickle.dumps((torch.get_rng_state().numpy(), np.random.get_state(), random.getstate()))  # noqa: NPY002

    expected = tiny("er").matrix.values  # imports what is needed before the states are noted
    with torch.random.fork_rng():
        torch.manual_seed(state)
        before = now()
        assert np.array_equal(fresh("er").matrix.values, expected)
        assert now() == before


@pytest.mark.parametrize(
    ("recipe", "rows"), [("joint", 1), ("cumulative", N_EXPERIENCES), ("naive", N_EXPERIENCES), ("er", N_EXPERIENCES)]
)
def test_the_matrix_has_a_row_for_each_evaluation_after_training(recipe, rows):
    assert tiny(recipe).matrix.values.shape == (rows, N_EXPERIENCES)


@pytest.mark.parametrize("benchmark", ["split-digits", "permuted-digits"])
def test_the_untrained_model_is_the_seeds_network(benchmark):
    stream = tensor_stream(benchmark, n_experiences=N_EXPERIENCES, seed=1)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = network("mlp", (1, 8, 8), 10)
    expected = []
    for experience in stream.test:
        rows = slice(None) if experience.rows is None else experience.rows
        predicted = model(experience.raw()[rows].float() / 16).argmax(1)
        expected.append((predicted == experience.targets).double().mean().item())
    assert tiny("er", benchmark, seed=1).matrix.initial.tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("naive", {"inputs": 0, "logits": 0, "teachers": 0}),
        ("er", {"inputs": MEMORY * 64, "logits": 0, "teachers": 0}),
        ("der++", {"inputs": MEMORY * 64, "logits": MEMORY * 10 * 4, "teachers": 0}),
        ("lwf", {"inputs": 0, "logits": 0, "teachers": PARAMETERS * 4}),
    ],
)
def test_the_state_is_counted_in_bytes(recipe, expected):
    found = dict(tiny(recipe).memory_bytes)
    labels = found.pop("labels")
    assert found == expected
    assert labels >= (MEMORY if expected["inputs"] else 0)


@pytest.mark.parametrize(
    ("recipe", "names"),
    [
        ("naive", {"criterion"}),
        ("der++", {"criterion", "logits", "labels"}),
        ("lwf", {"criterion", "distillation"}),
        ("er-ace", {"criterion", "replay"}),
    ],
)
def test_every_loss_is_named_and_finite(recipe, names):
    losses = tiny(recipe).losses
    assert losses.keys() == names
    assert all(math.isfinite(value) for pairs in losses.values() for _, value in pairs)


def test_a_loss_is_noted_at_the_end_of_each_epoch():
    (pairs,) = tiny("naive").losses.values()
    assert [iteration for iteration, _ in pairs] == [STEPS, 2 * STEPS]


def test_the_result_says_what_was_run_and_how_long_it_took():
    result = tiny("er")
    small = {"n_experiences": 2, "epochs": 1, "batch_size": 16, "samples_per_class": 32}
    assert result.spec == plan("split-digits", "er", seed=0, memory_size=20, **small)
    assert result.seconds.keys() == {"training", "evaluation"}
    assert all(s > 0 for s in result.seconds.values())


def test_of_a_compiled_network_the_graphs_are_counted(monkeypatch):
    monkeypatch.setattr("ckd.plugins.Compiled", functools.partial(Compiled, "eager"))
    torch.compiler.reset()
    assert 1 <= int(fresh("er", compiled=True).made["compiled graphs"]) <= torch._dynamo.config.recompile_limit
    torch.compiler.reset()
    assert "compiled graphs" not in tiny("er").made


@pytest.mark.parametrize(("recipe", "expected"), [("naive", [(1, 2), (2, 2)]), ("joint", [(1, 1)])])
def test_progress_is_reported(recipe, expected):
    reported = []
    result = run(tiny(recipe).spec, progress=lambda *state: reported.append(state))
    whole = [(done, total) for done, total, _ in reported if done == int(done)]
    assert list(dict.fromkeys(whole)) == expected  # the last step of an experience may be reported too
    assert all(a <= b for one, other in itertools.pairwise(reported) for a, b in zip(one, other, strict=True))
    assert 0 < reported[0][0] < 1  # within the first experience
    assert reported[-1][2] == sum(result.seconds.values())


def test_progress_changes_nothing_and_steps_are_counted():
    seen = []
    watched = run(tiny("er").spec, progress=lambda *state: seen.append(state))
    assert seen
    assert watched.losses == tiny("er").losses
    assert watched.matrix.to_json() == tiny("er").matrix.to_json()
    assert (watched.steps, tiny("er", epochs=2, passes=3).steps) == (2 * STEPS, 12 * STEPS)


# within experiences ------------------------------------------------------------------------------------------------


def noisy(input_shape, n_classes):
    """A network with BatchNorm and dropout."""
    layers = nn.Linear(math.prod(input_shape), 20), nn.BatchNorm1d(20), nn.Dropout(0.3), nn.ReLU()
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(20, n_classes))


@pytest.fixture
def students(monkeypatch):
    """The networks that `run` trains, with one called noisy to choose."""
    found = []

    def watched(name, stream):
        found.append(network_for(name, stream))
        return found[-1]

    monkeypatch.setitem(NETWORKS, "noisy", noisy)
    monkeypatch.setattr("ckd.bench.training.network_for", watched)
    return found


@pytest.mark.parametrize(
    ("recipe", "given"),
    [
        ("naive", {}),
        ("naive", {"network": "mlp", "compiled": True}),
        ("er", {"average": 0.9, "lr_end": 0.1, "passes": 2}),
        ("bic", {}),
        ("icarl", {}),
        ("cls-er", {}),
        ("self-distillation", {}),
        ("self-distillation", {"benchmark": "permuted-digits"}),
        ("cumulative", {}),
        ("joint", {}),
    ],
    ids=str,
)
def test_evaluating_within_experiences_changes_no_number(recipe, given, students, monkeypatch):
    monkeypatch.setattr("ckd.plugins.Compiled", functools.partial(Compiled, "eager"))
    torch.compiler.reset()
    plain, watched = (fresh(recipe, **{"network": "noisy", **given, "evaluate_every": k}) for k in (0, 3))
    torch.compiler.reset()
    assert len(watched.within) > 5
    assert plain.within == []
    one, other = (student.state_dict() for student in students)
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert watched.losses == plain.losses
    assert watched.matrix.to_json() == plain.matrix.to_json()
    assert np.array_equal(watched.predictions.log_confidence, plain.predictions.log_confidence)


@pytest.mark.parametrize("given", [{}, {"average": 0.9}, {"network": "convnet"}], ids=str)
def test_an_accuracy_within_is_that_of_a_run_that_ends_there(given):
    short, long = (tiny("er", epochs=epochs, evaluate_every=every, **given) for epochs, every in ((1, 0), (2, 5)))
    (there,) = [found for found in long.within if (found.learnt, found.step) == (0, STEPS)]
    assert there.accuracies == (short.matrix.values[0, 0],)


def test_every_so_many_steps_there_is_an_evaluation_of_all_experiences_so_far():
    found = tiny("er", evaluate_every=4).within
    expected = [(i, s, i + 1) for i in range(2) for s in (4, 8)]
    assert [(each.learnt, each.step, len(each.accuracies)) for each in found] == expected
    assert [(i, s, len(a)) for i, s, a in tiny("joint", evaluate_every=8).within] == [(0, 8, 2), (0, 16, 2)]


def test_the_last_step_is_left_to_the_evaluation_after_the_experience():
    assert tiny("naive", evaluate_every=STEPS).within == []


def test_what_is_fitted_at_the_end_is_as_it_was_fitted_last():
    found = [each for each in tiny("icarl", evaluate_every=3).within if each.learnt == 1]
    assert {each.accuracies[1] for each in found} == {0.0}  # no means of these classes yet
    assert min(each.accuracies[0] for each in found) > 0.5


def test_time_within_is_evaluation(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def evaluation(*given):
        now[0] += 100.0
        return (0.5, 0.5)

    def step(*given, **more):
        now[0] += 1.0

    monkeypatch.setattr("ckd.bench.training.accuracies", evaluation)
    monkeypatch.setattr(SelfDistillation, "after_training_iteration", step)
    result = fresh("naive", evaluate_every=4)
    assert result.seconds == {"training": result.steps, "evaluation": 100 * len(result.within)}


def test_joint_training_beats_fine_tuning_by_far():
    joint, naive = (tiny(r, **LONGER).matrix.average_accuracy() for r in ("joint", "naive"))
    assert joint > naive + 0.4


def test_replay_beats_fine_tuning():
    er, naive = (tiny(r, **LONGER).matrix for r in ("er", "naive"))
    assert er.average_accuracy() > naive.average_accuracy() + 0.2
    assert er.forgetting() < naive.forgetting() - 0.2


def test_validation_tests_on_other_samples():
    assert not np.array_equal(tiny("naive", validate=True).matrix.values, tiny("naive").matrix.values)


def test_a_memory_of_nothing_is_fine_tuning():
    assert np.array_equal(tiny("er", memory_size=0).matrix.values, tiny("naive").matrix.values)


@pytest.mark.parametrize(
    ("given", "said"), [({"n_experiences": 3}, "a divisor of 10"), ({"network": "resnet"}, "unknown network")]
)
def test_a_plan_that_the_data_or_the_network_cannot_follow_is_refused(given, said):
    with pytest.raises(ConfigError, match=said):
        fresh("naive", **given)


@pytest.mark.parametrize(
    "device",
    ["nonsense", pytest.param("cuda", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"))],
)
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(ConfigError):
        run(tiny("naive").spec, device=device)


@pytest.mark.parametrize("recipe", ["er", "icarl", "bic"])
def test_an_average_predicts_for_any_recipe(recipe):
    plain, averaged = (tiny(recipe, average=a) for a in (0, 0.9))
    assert plain.losses == averaged.losses or recipe == "bic"  # it only predicts; bic distils what predicts
    assert (plain.matrix.values != averaged.matrix.values).any()
    assert averaged.memory_bytes["teachers"] > 0


def test_several_passes_make_that_many_steps_with_each_mini_batch(monkeypatch):
    seen = []
    step = SelfDistillation.before_forward

    def watched(self, strategy, **kwargs):
        seen.append(strategy.mb_y.tolist())
        step(self, strategy, **kwargs)

    monkeypatch.setattr(SelfDistillation, "before_forward", watched)
    fresh("er", passes=3)
    assert seen[0::3] == seen[1::3] == seen[2::3]
    assert sum(map(len, seen)) == 3 * 10 * SAMPLES


def test_a_rate_that_falls_changes_the_run():
    plain, falling = (tiny("naive", lr_end=end) for end in (1.0, 0.1))
    assert plain.losses != falling.losses


def test_a_rate_that_falls_in_steps_is_another_run():
    line, steps = (tiny("naive", epochs=2, lr_end=0.1, lr_steps=given) for given in ((), (1,)))
    assert line.losses != steps.losses
