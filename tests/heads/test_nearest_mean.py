"""Nearest class means against numpy and scikit-learn, and in Avalanche."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import normalize
from torch import nn

from ckd import SelfDistillation, recipes
from ckd.answers import NearestMean
from ckd.answers.nearest_mean import NearestMeanClassifier, class_means
from ckd.classes import ClassSet
from ckd.memory import Rows
from ckd.part import Ending


def classes(*indices):
    return ClassSet({0: frozenset(indices)})


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
    asked = samples(200, seed=1)[0]
    part = NearestMean()
    part.end(Ending(headed(9), classes(*labels), remembered=lambda: rows(x, y)))
    found = part.answering(headed(9))(torch.tensor(asked)).numpy()
    assert np.array_equal(found.argmax(1), _predicted(asked, x, y))


def _predicted(asked, x, y):
    if len(set(y)) == 1:  # scikit-learn wants two classes
        return np.full(len(asked), y[0])
    return centroids(x, y).predict(normalize(asked))


def test_logits_are_negative_squared_distances_of_unit_vectors_as_wide_as_the_head():
    x, y = samples(labels=(0, 2))
    asked = samples(40, seed=1)[0]
    part = NearestMean()
    part.end(Ending(headed(6), classes(0, 2), remembered=lambda: rows(x, y)))
    found = part.answering(headed(6))(torch.tensor(asked)).numpy()
    assert found.shape == (40, 6)
    for column, mean in zip((0, 2), centroids(x, y).centroids_, strict=True):
        np.testing.assert_allclose(found[:, column], -((normalize(asked) - mean) ** 2).sum(1), atol=1e-9)
    assert (found[:, [1, 3, 4, 5]] == -1000).all()


@pytest.mark.parametrize("n_classes", [5, 60])  # torch.cdist takes another path beyond 25 rows
def test_a_class_without_samples_never_wins(n_classes):
    means = torch.randn(n_classes, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    means[::2] = torch.nan
    asked = torch.tensor(samples(60)[0])
    found = NearestMeanClassifier(headed(n_classes + 3), means)(asked)
    assert found.isfinite().all()
    assert set(found.argmax(1).tolist()) <= set(range(1, n_classes, 2))


def test_a_sample_without_features_is_answered_all_the_same():
    means = torch.eye(3, 6, dtype=torch.float64)
    assert NearestMeanClassifier(headed(3), means)(torch.zeros(2, 6).double()).tolist() == [[-1] * 3] * 2


def test_before_there_is_a_mean_the_student_answers():
    model, part = headed(4), NearestMean()
    assert part.answering(model) is model
    part.end(Ending(model, classes(0, 1)))
    assert part.answering(model) is model


# in Avalanche ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grows", [False, True])
def test_icarl_answers_by_the_means_of_its_memory(grows, blobs, benchmark_of, network, naive, growing):
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


def test_a_multi_head_model_is_refused_before_any_step(refused):
    message, steps = refused(recipes.icarl(memory_size=20))
    assert "nearest-mean classifier: expected a model with one head for all classes" in message
    assert steps == 0
