"""What learns in a run: the teachers of its objective, pruning, averages."""

import pytest
import torch

from ckd.bench import plan
from ckd.bench.distil import plan_distillation
from ckd.bench.learner import learner
from ckd.bench.teachers import packed
from ckd.data import tensor_stream
from ckd.networks import network
from ckd.pruning import Pruning
from ckd.teachers import Ensemble, Fixed, Peer


@pytest.fixture(scope="module")
def stream():
    return tensor_stream("digits", samples_per_class=10)


def objective(spec, stream):
    student = network(spec.network, (1, 8, 8), 10)
    files = [packed(network(t.network, (1, 8, 8), 10), t, stream) for t in spec.teachers]
    return learner(spec, stream, student, files, torch.device("cpu"))


@pytest.mark.parametrize(("settings", "temperature"), [({}, 4.0), ({"kd": {"temperature": 7.0}}, 7.0)])
def test_an_ensemble_is_a_mean_at_the_temperature_of_the_loss(settings, temperature, stream):
    given = {"teacher": "mlp", "student": "small-mlp", "settings": settings}
    teachers = [
        objective(plan_distillation("digits", teacher_seeds=range(n), **given).taught[0], stream)[0].teachers["teacher"]
        for n in (1, 2)
    ]
    assert isinstance(teachers[0], Fixed)
    assert isinstance(teachers[1], Ensemble)
    assert teachers[1].temperature == temperature


def test_peers_see_each_other(stream):
    spec = plan_distillation("digits", teacher="mlp", student="small-mlp", recipes=("mutual",)).taught[0]
    student = network("small-mlp", (1, 8, 8), 10)
    ours, beside = learner(spec, stream, student, [], torch.device("cpu"))
    theirs = beside.engine.objective.teachers["teacher"]
    assert isinstance(theirs, Peer)
    assert theirs.network is student
    assert ours.teachers["teacher"].network is beside.network is not student


def test_pruning_lasts_as_long_as_the_training(stream):
    spec = plan("digits", "naive", seed=0, network="mlp", sparsity=0.5, epochs=3, batch_size=64, samples_per_class=10)
    (part,) = objective(spec, stream)[0].corrections
    assert isinstance(part, Pruning)
    assert (part.sparsity, part.steps) == (0.5, 3 * 2)


def test_an_average_is_what_predicts(stream):
    spec = plan("digits", "naive", seed=0, network="mlp", average=0.9)
    assert objective(spec, stream)[0].evaluation
    assert objective(spec, stream)[1] is None
