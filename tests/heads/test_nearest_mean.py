"""Nearest class means against numpy and scikit-learn, and in Avalanche."""

import numpy as np
import pytest
import torch
from shared import assert_plain, classes_in, storages
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import normalize
from torch import nn

from ckd import Engine, Memory, Objective, SelfDistillation, recipes
from ckd.heads import NearestMean
from ckd.heads.nearest_mean import NearestMeanClassifier, class_means
from ckd.memory import Rows
from ckd.part import Ending, EvaluationModel, Update
from ckd.teachers import Ema


def samples(n=90, labels=(0, 1, 2, 3, 4), seed=0):
    """Features (n, 6) around a centre for each class; every label occurs."""
    rng = np.random.default_rng(seed)
    targets = rng.permutation(np.resize(labels, n))
    return 0.7 * rng.standard_normal((n, 6)) + np.eye(10, 6)[targets], targets


def rows(x, y):
    zeros = torch.zeros(len(y), dtype=torch.long)
    return Rows(torch.tensor(x), torch.tensor(y), zeros, zeros)


def headed(width):
    """A network whose head takes in what the network itself takes in."""
    return nn.Sequential(nn.Identity(), nn.Linear(6, width)).double()


def ended(model, classes, x=None, y=None, head="1"):
    """The part after the end of an experience with these classes and samples in memory."""
    part = NearestMean()
    stored = None if x is None else rows(x, y)
    part.end(Ending(model, classes_in(classes), stored=lambda: stored, head=head))
    return part


def centroids(features, targets):
    """scikit-learn's classifier with iCaRL's means: of normalised features, and normalised again."""
    features = normalize(features)
    fitted = NearestCentroid().fit(features, targets)
    fitted.centroids_ = normalize(np.stack([features[targets == c].mean(0) for c in fitted.classes_]))
    return fitted


# the means ---------------------------------------------------------------------------------------------------------


def test_class_means_are_numpys_and_nan_where_there_is_no_sample():
    x, y = samples(labels=(0, 2, 5))
    found = class_means(torch.tensor(x), torch.tensor(y), 7).numpy()
    for c in (0, 2, 5):
        np.testing.assert_allclose(found[c], x[y == c].mean(0), rtol=1e-12)
    assert np.isnan(found[[1, 3, 4, 6]]).all()


# the classifier ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [(0, 1, 2, 3, 4), (3,), (1, 4, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_predictions_are_scikit_learns(labels, dtype):
    x, y = samples(labels=labels)
    shown = samples(200, seed=1)[0]
    model = headed(9)
    found = ended(model, labels, x, y).evaluation_model(model)(torch.tensor(shown)).numpy()
    assert np.array_equal(found.argmax(1), _predicted(shown, x, y))


def _predicted(shown, x, y):
    if len(set(y)) == 1:  # scikit-learn wants two classes
        return np.full(len(shown), y[0])
    return centroids(x, y).predict(normalize(shown))


def test_logits_are_negative_squared_distances_of_unit_vectors_as_wide_as_the_head():
    x, y = samples(labels=(0, 2))
    shown = samples(40, seed=1)[0]
    model = headed(6)
    found = ended(model, [0, 2], x, y).evaluation_model(model)(torch.tensor(shown)).numpy()
    assert found.shape == (40, 6)
    for column, mean in zip((0, 2), centroids(x, y).centroids_, strict=True):
        np.testing.assert_allclose(found[:, column], -((normalize(shown) - mean) ** 2).sum(1), atol=1e-9)
    assert (found[:, [1, 3, 4, 5]] == -1000).all()


@pytest.mark.parametrize("n_classes", [5, 60])  # torch.cdist takes another path beyond 25 rows
def test_a_class_without_samples_never_wins(n_classes):
    means = torch.randn(n_classes, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    means[::2] = torch.nan
    shown = torch.tensor(samples(60)[0])
    found = NearestMeanClassifier(headed(n_classes + 3), means, "1")(shown)
    assert found.isfinite().all()
    assert set(found.argmax(1).tolist()) <= set(range(1, n_classes, 2))


def test_a_sample_without_features_has_finite_logits_all_the_same():
    means = torch.eye(3, 6, dtype=torch.float64)
    assert NearestMeanClassifier(headed(3), means, "1")(torch.zeros(2, 6).double()).tolist() == [[-1] * 3] * 2


def test_before_there_is_a_mean_the_student_predicts():
    model = headed(4)
    assert NearestMean().evaluation_model(model) is model
    assert ended(model, [0, 1]).evaluation_model(model) is model
    assert ended(model, [0, 1]).nbytes() == NearestMean().nbytes() == {}


class TwoHeads(nn.Module):
    """An auxiliary head, registered last, takes in something else."""

    def __init__(self):
        super().__init__()
        self.main, self.auxiliary = nn.Linear(6, 5, dtype=torch.float64), nn.Linear(6, 5, dtype=torch.float64)

    def forward(self, x):
        self.auxiliary(x.flip(1))
        return self.main(x)


@pytest.mark.parametrize("head", ["main", "auxiliary"])
def test_features_are_the_inputs_of_the_head_that_is_named(head):
    (x, y), model = samples(), TwoHeads()
    part = ended(model, range(5), x, y, head)
    seen = x if head == "main" else x[:, ::-1]
    for c in range(5):
        np.testing.assert_allclose(part.means[c], normalize(seen[y == c]).mean(0), rtol=1e-9)
    found = part.evaluation_model(model)(torch.tensor(x)).argmax(1).numpy()
    assert np.array_equal(found, centroids(seen, y).predict(normalize(seen)))


def test_it_is_an_evaluation_model_that_needs_the_head_and_task_boundaries():
    part = NearestMean()
    assert isinstance(part, EvaluationModel)
    assert part.needs_head
    assert part.needs_boundaries
    assert ended(headed(9), range(5), *samples()).nbytes() == {"heads": 8 * 5 * 6}


# on an average -----------------------------------------------------------------------------------------------------


def test_on_an_average_means_and_features_are_those_of_the_average():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        student = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 5)).double()
    ema, part, (x, y) = Ema(0.5), NearestMean(), samples()
    ema.begin(student, classes_in(range(5)))
    for seed in range(4):
        with torch.no_grad():
            for p in student.parameters():
                p += torch.randn(p.shape, generator=torch.Generator().manual_seed(seed), dtype=p.dtype)
        ema.after_update(Update(student, *[torch.zeros(1)] * 2, None, torch.zeros(1, 5), 0))
    average = ema.evaluation_model(student)
    part.end(Ending(average, classes_in(range(5)), stored=lambda: rows(x, y), head="2"))
    shown = samples(60, seed=3)[0]
    w = {name: value.numpy() for name, value in ema.model.module.state_dict().items()}
    features, seen = (np.tanh(v @ w["0.weight"].T + w["0.bias"]) for v in (x, shown))
    predicts = part.evaluation_model(ema.evaluation_model(student))
    assert np.array_equal(predicts(torch.tensor(shown)).argmax(1), centroids(features, y).predict(normalize(seen)))
    of_student = part.evaluation_model(student)(torch.tensor(shown))
    assert not torch.allclose(of_student, predicts(torch.tensor(shown)))


def test_in_a_run_the_means_are_those_of_the_averages_features(network):
    ema, part, memory = Ema(0.9), NearestMean(), Memory(20)
    engine = Engine(Objective("means", memory=memory, evaluation=[ema, part]))
    student, (x, y) = network(), samples()
    x = torch.tensor(x).float()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.5)
    for new in ([0, 1], [2, 3, 4]):
        engine.begin(new)
        mine = torch.tensor(np.isin(y, new))
        for _ in range(5):
            optimizer.zero_grad()
            engine.loss(student, x[mine], torch.tensor(y)[mine]).backward()
            optimizer.step()
            engine.after_update(optimizer)
        engine.end()
    average, stored = ema.model.module, memory.rows
    wanted = centroids(average[:2](stored.raw).numpy(), stored.targets.numpy())
    found = engine.evaluation_model(student)(x).argmax(1).numpy()
    assert np.array_equal(found, wanted.predict(normalize(average[:2](x).numpy())))
    assert len(set(found)) > 2
    assert not torch.allclose(average[0].weight, student[0].weight)


# state -------------------------------------------------------------------------------------------------------------


def test_restored_it_predicts_the_same_and_its_state_is_a_plain_copy():
    model, (x, y), shown = TwoHeads(), samples(), torch.tensor(samples(60, seed=3)[0])
    part, twin = ended(model, range(5), x, y, "auxiliary"), NearestMean()
    state = part.state_dict()
    assert_plain(state)
    assert not storages(state) & storages({"means": part.means})
    twin.load_state_dict(state, model)
    assert not storages(state) & storages({"means": twin.means})
    assert torch.equal(part.evaluation_model(model)(shown), twin.evaluation_model(model)(shown))


def test_before_there_is_a_mean_it_is_restored_as_that():
    model, state = headed(9), NearestMean().state_dict()
    assert_plain(state)
    part = ended(model, range(5), *samples())
    part.load_state_dict(state, model)
    assert part.evaluation_model(model) is model


# in Avalanche ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grows", [False, True])
def test_icarl_predicts_by_the_means_of_its_memory(grows, blobs, benchmark_of, network, naive, growing):
    class Watch:
        def after_eval_forward(self, strategy, **kwargs):
            seen.append((strategy.mb_x.clone(), strategy.mb_output.clone()))

    plugin, seen = SelfDistillation(recipes.icarl(memory_size=24)), []
    model = growing if grows else network()
    strategy = naive(model, [plugin, Watch()])
    features = model.features if grows else model[:2]
    stream = benchmark_of(blobs())
    for i, experience in enumerate(stream.train_stream):
        strategy.train(experience)
        seen.clear()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        strategy.eval(stream.test_stream[: i + 1])
        assert strategy.model is model
        assert all(m.training for m in model.modules())
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        memory = plugin.objective.memory.rows
        assert set(memory.targets.tolist()) == set(range(2 * i + 2))
        nearest = centroids(features(memory.raw).detach().numpy(), memory.targets.numpy())
        for x, output in seen:
            wanted = nearest.predict(normalize(features(x).detach().numpy()))
            assert np.array_equal(output.argmax(1).numpy(), wanted)
            assert output.shape[1] == model(x).shape[1]


def test_a_multi_head_model_is_refused_before_any_update(refused):
    message, updates = refused(recipes.icarl(memory_size=20))
    assert "expected a model with one head for all classes" in message
    assert updates == 0
