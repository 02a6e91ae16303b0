"""What was predicted for every sample: kept in the run, written and read back, and the same as the logits say."""

import numpy as np
import pytest
import torch

from ckd import AccuracyRecorder
from ckd.errors import ConfigError, DataError
from ckd.evaluation import Predictions
from ckd.evaluation.predictions import Kept, gather, read


@pytest.fixture
def run(blobs, benchmark_of, network, naive):
    """A recorded run, and the logits (R, N, C) of a network asked again at each evaluation."""
    recorder, model, experiences = AccuracyRecorder(keep_predictions=True), network(), blobs()
    strategy, stream = naive(model, evaluator=recorder), benchmark_of(experiences)
    logits = []
    for experience in [None, *stream.train_stream]:
        if experience is not None:
            strategy.train(experience)
        strategy.eval(stream.test_stream)
        model.eval()
        with torch.no_grad():
            logits.append(torch.cat([model(x) for x, _ in experiences]))
    return recorder, torch.stack(logits), torch.cat([y for _, y in experiences])


def test_they_are_what_the_logits_say(run):
    recorder, logits, labels = run
    found = recorder.predictions()
    p = logits.double().softmax(2).numpy()
    y = labels.numpy()
    assert np.array_equal(found.labels, y)
    assert np.array_equal(found.trained, range(4))
    assert np.array_equal(found.predicted, logits.argmax(2).numpy())
    of_label = np.take_along_axis(p, np.broadcast_to(y[None, :, None], (4, len(y), 1)), 2)[..., 0]
    for kept, wanted in (
        (np.exp(found.log_confidence.astype(float)), p.max(2)),
        (np.exp(found.log_confidence.astype(float) + found.log_ratio), of_label),
        (found.squares, (p**2).sum(2)),
    ):
        assert kept == pytest.approx(wanted, abs=1e-3)
    assert (found.log_ratio[found.predicted == found.labels] == 0).all()


def test_they_give_the_same_matrices_as_counting(run):
    recorder, *_ = run
    found = recorder.predictions()
    for among_known, counted in ((False, recorder.matrix()), (True, recorder.task_matrix())):
        matrix = found.matrix(among_known=among_known)
        assert matrix.values == pytest.approx(counted.values)
        assert matrix.initial == pytest.approx(counted.initial)


def test_what_is_written_is_read_back_in_small_types(run, tmp_path):
    recorder, *_ = run
    found = recorder.predictions()
    found.save(tmp_path / "predictions.npz")
    again = Predictions.load(tmp_path / "predictions.npz")
    for name in Predictions.__dataclass_fields__:
        assert np.array_equal(getattr(found, name), getattr(again, name))
        assert getattr(found, name).dtype == getattr(again, name).dtype
    assert found.predicted.dtype == found.labels.dtype == np.uint8
    assert [file.name for file in tmp_path.iterdir()] == ["predictions.npz"]


def test_experiences_that_were_not_evaluated_are_nan():
    kept = Kept.of(*(torch.tensor(t) for t in ([0, 1], [[0, 0], [0, 1]], [[0.0, -0.1], [0.0, -2.0], [1.0, 0.8]])))
    found = gather({1: {0: kept}, 2: {0: kept, 1: kept}})
    assert np.array_equal(found.accuracies(), [[0.5, np.nan], [0.5, 0.5]], equal_nan=True)
    assert np.array_equal(found.accuracies(among_known=True), [[1, np.nan], [1, 1]], equal_nan=True)
    assert found.matrix().initial is None
    assert [found.of_experience(j) for j in range(2)] == [slice(0, 2), slice(2, 4)]


def test_a_label_without_an_output_is_as_wrong_as_can_be():
    classes, numbers = read(torch.tensor([[2.0, 1.0]]), torch.tensor([5]), torch.tensor([5]))
    assert classes.tolist() == [[0], [-1]]
    assert numbers[1].tolist() == [-torch.inf]


def test_half_precision_and_extreme_logits_are_finite():
    logits = torch.tensor([[60000.0, -60000.0], [0.0, 0.0]], dtype=torch.float16)
    _, numbers = read(logits, torch.tensor([0, 1]), torch.tensor([0, 1]))
    assert torch.isfinite(numbers).all()


def test_without_being_kept_there_are_none(blobs, benchmark_of, network, naive):
    recorder = AccuracyRecorder()
    naive(network(), evaluator=recorder).eval(benchmark_of(blobs()).test_stream)
    with pytest.raises(ConfigError, match="keep_predictions=True"):
        recorder.predictions()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"\x80\x04K\x01."])
def test_other_files_are_refused(tmp_path, content):
    file = tmp_path / "predictions.npz"
    file.write_bytes(content)
    with pytest.raises(DataError, match="predictions"):
        Predictions.load(file)


def test_a_newer_version_and_objects_are_refused(tmp_path):
    np.savez(tmp_path / "new.npz", version=np.array(99))
    with pytest.raises(DataError, match="newer"):
        Predictions.load(tmp_path / "new.npz")
    np.savez(tmp_path / "objects.npz", version=np.array(1), labels=np.array([object()]))
    with pytest.raises(DataError, match="Python objects, which would have to be unpickled"):
        Predictions.load(tmp_path / "objects.npz")
