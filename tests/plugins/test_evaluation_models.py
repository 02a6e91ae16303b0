"""Which network predicts at evaluation: one of several by name, and features of the head that is meant."""

import numpy as np
import pytest
import torch
from torch import nn

from ckd import Ema, Memory, Objective, SelfDistillation, Term, recipes
from ckd.errors import ConfigError, ModelError, UnknownNameError
from ckd.heads import BiasCorrection, NearestMean
from ckd.losses import cross_entropy
from ckd.objective import replay


def several():
    """An objective with three evaluation models to compare, of which the average is the first."""
    average = Ema(0.9)
    return Objective(
        "several",
        [Term("replay", replay("a"), loss=cross_entropy)],
        memory=Memory(30),
        evaluation={"average": average, "means": NearestMean(), "means of the average": [average, NearestMean()]},
    )


def trained(objective, blobs, benchmark_of, network, naive, **settings):
    """A strategy after two experiences, its stream and the plugin."""
    plugin, stream = SelfDistillation(objective, **settings), benchmark_of(blobs(n_experiences=2))
    strategy = naive(network(), [plugin])
    torch.manual_seed(0)
    strategy.train(stream.train_stream)
    return strategy, stream, plugin


class Predictors:
    """The networks that evaluated."""

    def __init__(self):
        self.seen = []

    def after_eval_exp(self, strategy, **kwargs):
        self.seen.append(strategy.model)


class Raises:
    """A metric of a third party."""

    def after_eval_iteration(self, strategy, **kwargs):
        raise ZeroDivisionError


def test_a_metric_that_raises_leaves_the_strategy_its_own_model(blobs, benchmark_of, network, naive):
    strategy, stream, _ = trained(several(), blobs, benchmark_of, network, naive)
    student, sound = strategy.model, strategy.eval(stream.test_stream)
    strategy.plugins.append(Raises())
    with pytest.raises(ZeroDivisionError):
        strategy.eval(stream.test_stream)
    assert strategy.model is student
    strategy.plugins.pop()
    assert strategy.eval(stream.test_stream) == sound
    assert strategy.model is student


def accuracy(model, blobs):
    """On each experience, by hand."""
    model.eval()
    with torch.no_grad():
        return [(model(x).argmax(1) == y).double().mean().item() for x, y in blobs(n_experiences=2)]


def test_several_evaluation_models_are_compared_in_one_run(blobs, benchmark_of, network, naive):
    strategy, stream, plugin = trained(several(), blobs, benchmark_of, network, naive)
    student, found = strategy.model, {}
    for name in ("student", "average", "means", "means of the average"):
        with plugin.evaluating(name):
            found[name] = list(strategy.eval(stream.test_stream).values())
        assert strategy.model is student
    average = plugin.objective.evaluation["average"][0]
    assert found["student"] == accuracy(student, blobs)
    assert found["average"] == accuracy(average.model.module, blobs)
    assert found["means"] == accuracy(plugin.engine.evaluation_model(student, "means"), blobs)
    both = plugin.engine.evaluation_model(student, "means of the average")
    assert found["means of the average"] == accuracy(both, blobs)
    x, means = blobs()[0][0], plugin.engine.evaluation_model(student, "means")
    assert not torch.equal(both(x), means(x))
    assert len({tuple(row) for row in found.values()}) >= 3


def test_the_means_of_the_average_are_of_its_features(blobs, benchmark_of, network, naive):
    strategy, _, plugin = trained(several(), blobs, benchmark_of, network, naive)
    (average, means), (own,) = (plugin.objective.evaluation[name] for name in ("means of the average", "means"))
    rows = plugin.objective.memory.rows
    for part, model in ((means, average.model.module), (own, strategy.model)):
        inner = nn.functional.normalize(model[:-1](rows.raw).detach(), dim=1)
        wanted = torch.stack([inner[rows.targets == c].mean(0) for c in range(4)])
        assert torch.allclose(part.means, wanted, atol=1e-6)


def test_unless_named_the_first_evaluates_and_afterwards_again(blobs, benchmark_of, network, naive):
    strategy, stream, plugin = trained(several(), blobs, benchmark_of, network, naive)
    predictors = Predictors()
    strategy.plugins.append(predictors)
    strategy.eval(stream.test_stream[:1])
    with plugin.evaluating("student"):
        strategy.eval(stream.test_stream[:1])
        with plugin.evaluating("means"):
            strategy.eval(stream.test_stream[:1])
        strategy.eval(stream.test_stream[:1])
    with pytest.raises(ZeroDivisionError), plugin.evaluating("means"):
        _ = 1 / 0
    strategy.eval(stream.test_stream[:1])
    kinds = [type(model).__name__ for model in predictors.seen]
    assert kinds == ["Sequential", "Sequential", "NearestMeanClassifier", "Sequential", "Sequential"]
    is_student = [model is strategy.model for model in predictors.seen]
    assert is_student == [False, True, False, True, False]


def test_comparing_them_does_not_touch_the_run(blobs, benchmark_of, network, naive, same):
    ends = []
    for compares in (False, True):
        plugin, stream = SelfDistillation(several()), benchmark_of(blobs())
        strategy = naive(network(batchnorm=True), [plugin])
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for experience in stream.train_stream:
                strategy.train(experience)
                for name in ("student", "average", "means", "means of the average") if compares else ():
                    with torch.random.fork_rng(), plugin.evaluating(name):
                        strategy.eval(stream.test_stream)
            ends.append((strategy.model.state_dict(), torch.rand(1).item()))
    assert same(*ends)


@pytest.mark.parametrize(
    ("objective", "known"),
    [
        (several, "student, average, means, means of the average"),
        (lambda: recipes.icarl(memory_size=20), "student, default"),
        (lambda: recipes.er(memory_size=20), "student"),
    ],
)
def test_a_name_that_is_not_there_is_refused_before_anything_is_evaluated(objective, known):
    plugin = SelfDistillation(objective())
    with pytest.raises(ConfigError, match=f"expected {known}; received 'mean'"), plugin.evaluating("mean"):
        raise AssertionError
    assert plugin.evaluated is None


def test_the_student_can_always_be_named(blobs, benchmark_of, network, naive):
    strategy, stream, plugin = trained(recipes.icarl(memory_size=20), blobs, benchmark_of, network, naive)
    predictors = Predictors()
    strategy.plugins.append(predictors)
    with plugin.evaluating("student"):
        strategy.eval(stream.test_stream)
    assert all(model is strategy.model for model in predictors.seen)
    recorder = strategy.evaluator
    assert np.array_equal(recorder.matrix().values[-1], accuracy(strategy.model, blobs))


# which layer is the head -------------------------------------------------------------------------------------------


class TwoHeads(nn.Module):
    """Two linear layers of one width, whose mean it returns: which of them is the head cannot be found out."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 16), nn.ReLU())
        self.narrow = nn.Linear(6, 4)
        self.first, self.second = nn.Linear(16, 6), nn.Linear(4, 6)

    def forward(self, x):
        return (self.first(self.body(x)) + self.second(self.narrow(x))) / 2


class Auxiliary(nn.Module):
    """A linear layer as wide as the head that is no part of the output."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 16), nn.ReLU())
        self.auxiliary, self.classifier = nn.Linear(16, 6), nn.Linear(16, 6)

    def forward(self, x):
        inner = self.body(x)
        self.auxiliary(inner)
        return self.classifier(inner)


def run(model, objective, blobs, benchmark_of, naive, **settings):
    plugin = SelfDistillation(objective, **settings)
    naive(model, [plugin]).train(benchmark_of(blobs()).train_stream)
    return plugin


@pytest.mark.parametrize(("head", "width"), [("first", 16), ("second", 4)])
def test_of_two_heads_the_named_one_gives_the_features(head, width, blobs, benchmark_of, naive):
    plugin = run(TwoHeads(), recipes.icarl(memory_size=20), blobs, benchmark_of, naive, head=head)
    assert plugin.objective.evaluation["default"][0].means.shape[1] == width


def test_two_heads_and_none_named_are_refused_with_both_names(blobs, benchmark_of, naive):
    with pytest.raises(ModelError, match=r'received first, second.*head="classifier"'):
        run(TwoHeads(), recipes.icarl(memory_size=20), blobs, benchmark_of, naive)


def test_a_layer_that_gives_no_part_of_the_output_is_not_taken_for_the_head(blobs, benchmark_of, naive):
    assert run(Auxiliary(), recipes.icarl(memory_size=20), blobs, benchmark_of, naive).engine.head == "classifier"


@pytest.mark.parametrize("recipe", ["icarl", "wa", "bfp", "er"])
def test_a_name_that_no_layer_has_is_refused_at_the_first_step(recipe, blobs, benchmark_of, naive):
    plugin = SelfDistillation(recipes.get(recipe).build(memory_size=20), head="clasifier")
    with pytest.raises(UnknownNameError, match="Did you mean 'classifier'"):
        naive(Auxiliary(), [plugin]).train(benchmark_of(blobs()).train_stream)
    assert plugin.engine.moment.iteration == 0


def test_a_layer_that_is_not_linear_has_no_weights_to_align(blobs, benchmark_of, naive):
    with pytest.raises(ModelError, match=r"a linear layer.*at 'body'"):
        run(Auxiliary(), recipes.wa(memory_size=20), blobs, benchmark_of, naive, head="body")


def test_where_no_part_needs_the_head_it_is_not_looked_for(blobs, benchmark_of, naive):
    assert run(TwoHeads(), recipes.self_distillation(memory_size=20), blobs, benchmark_of, naive).engine.head is None


def test_the_bias_is_corrected_of_the_average_that_it_builds_on(blobs, benchmark_of, network, naive):
    correction, average = BiasCorrection(), Ema(0.9)
    term = Term("replay", replay("a"), loss=cross_entropy)
    objective = Objective("x", [term], memory=Memory(30), evaluation=[average, correction])
    strategy, _, plugin = trained(objective, blobs, benchmark_of, network, naive)
    x = blobs()[0][0]
    corrected = plugin.engine.evaluation_model(strategy.model)(x)
    plain = average.model.module(x)
    assert torch.allclose(corrected[:, :2], plain[:, :2])
    assert torch.allclose(corrected[:, 2:4], correction.scale[2] * plain[:, 2:4] + correction.shift[2])
    assert correction.scale[2] != 1
